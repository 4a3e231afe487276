"""Small pictures of the validation images that changed most, from the data that the runs were validated on.

The one part of a report that reads more than run folders, and imports PyTorch: only where it is asked for.
"""

import io
from typing import NamedTuple

from PIL import Image

from recipe import stored_config
from recipe.data import dataset as datasets
from recipe.data.prepare.fetch import fetch
from recipe.errors import DataError
from recipe.ladder.comparing import flips
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.reading.records import RunRecord

SIDE = 96  # pixels, at most


class Thumbnail(NamedTuple):
    """An image of a report."""

    name: str  # its file
    jpeg: bytes


def of_flips(comparison: Comparison, most: int) -> dict[int, Thumbnail]:
    """The images of all flips that a report shows, by their number in the validation set. Raises DataError, RunError.

    Args:
        most: flips of each pair of rows.
    """
    pairs = flips.compared_rows(comparison)
    wanted = {flip.image for row, over in pairs for flip in flips.most_changed(row, over, comparison.classes, most)}
    runs = [run for row in comparison.rows for run in row.runs.values()]
    if not wanted or runs[0].unit[1] is not None:  # folds have images of their own
        return {}
    return _read(runs[0], sorted(wanted))


def _read(run: RunRecord, numbers: list[int]) -> dict[int, Thumbnail]:
    config = stored_config.load(run.folder / "config.yaml").data
    fetch(config)
    _, images = datasets.load(config, run.environment["data"])
    if images.fingerprint != run.environment["data"]["val"]:
        raise DataError(f"{config.root}: not the images that {run.folder} was validated on")
    found = {}
    for number in numbers:
        picture = Image.fromarray(images.open(number).whole().permute(1, 2, 0).contiguous().numpy())
        picture.thumbnail((SIDE, SIDE))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=80)
        found[number] = Thumbnail(images.name(number), file.getvalue())
    return found
