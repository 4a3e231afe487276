"""The images that changed most are shown as they are, from the data that real runs were validated on."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipe import stored_config
from recipe.data import dataset as datasets
from recipe.errors import DataError
from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import page
from recipe.ladder.telling.classes_and_images import MOST_FLIPS
from recipe.ladder.telling.thumbnails import SIDE, of_flips
from recipe.plan.compose import Plan
from recipe.run.run import train

SMALL = ("scale=demo", "scale.resolution=0.0715", "data=synthetic", "data.size=64", "data.workers=0", "epochs=1")


@pytest.fixture
def two(plan: Callable[..., Plan], tmp_path: Path) -> Path:
    """Two trained rungs; the second is made right about the images 3 and 7, where the first is wrong."""
    for recipe, right in (("r01_lr_optimizations", []), ("r02_trivial_augment", [3, 7])):
        composed = plan(f"+recipe={recipe}", *SMALL, "model.name=shufflenet_v2_x0_5", "log.images=false")
        folder = tmp_path / composed.name / "seed=0"
        train(replace(composed, folder=folder))
        arrays = dict(np.load(folder / "predictions.npz"))
        arrays["correct"] = np.isin(arrays["index"], right)
        np.savez(folder / "predictions.npz", **arrays)
    return tmp_path


def test_the_images_that_changed_are_shown(two: Path) -> None:
    runs = collect([two])
    (comparison,) = compare(runs)
    found = of_flips(comparison, MOST_FLIPS)
    assert sorted(found) == [3, 7]
    _, images = datasets.load(stored_config.load(runs[0].folder / "config.yaml").data)
    picture = Image.open(io.BytesIO(found[7].jpeg))
    assert picture.size == (SIDE, SIDE)
    assert found[7].name == images.name(7)

    def distance(number: int) -> float:
        pixels = Image.fromarray(images.open(number).whole().permute(1, 2, 0).contiguous().numpy())
        other = pixels.resize((SIDE, SIDE)).convert("L")
        return float(np.abs(np.asarray(picture.convert("L"), float) - np.asarray(other, float)).mean())

    assert distance(7) < 0.7 * min(distance(number) for number in range(16) if number != 7)

    page.write(Report([two], [comparison], runs), {}, two / "with.html", [found])
    page.write(Report([two], [comparison], runs), {}, two / "without.html")
    assert (two / "with.html").read_text().count("data:image/jpeg") == 2
    assert images.name(7) in (two / "with.html").read_text()
    assert "no. 7" in (two / "without.html").read_text()


def test_other_images_are_not_shown_for_them(two: Path) -> None:
    for path in two.glob("*/seed=0/environment.json"):
        environment = json.loads(path.read_text())
        environment["data"]["val"] = "of other images"
        path.write_text(json.dumps(environment))
    (comparison,) = compare(collect([two]))
    with pytest.raises(DataError, match="not the images that"):
        of_flips(comparison, MOST_FLIPS)
