"""evaluations.json of a run: every evaluation so far, the newest of each setting on each set of images.

Of test images what is right about each is kept too, so that reports can pair runs image by image.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipe.errors import RunError
from recipe.files import write_atomically
from recipe.finished.evaluation.choice import EvaluationSetting

if TYPE_CHECKING:
    from recipe.training.evaluate import Evaluation

FOLDER = "evaluations"  # of the run's, for what is kept by image
FILE = "evaluations.json"
KEY = {"images": str, **EvaluationSetting.__annotations__}  # what tells one evaluation from another, and its types


def read(folder: Path) -> dict[str, Any]:
    """What the file holds; without one, nothing. Raises RunError where it cannot be used."""
    path = folder / FILE
    if not path.exists():
        return {"evaluations": [], "choice": None}
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or not isinstance(content.get("evaluations"), list):
            raise ValueError("no list of evaluations in it")
        for entry in content["evaluations"]:
            if not isinstance(entry, dict) or any(type(entry.get(name)) is not kind for name, kind in KEY.items()):
                raise ValueError(f"an evaluation in it lacks {', '.join(KEY)}")
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())[:100]
        raise RunError(
            f"cannot read {path} ({reason}), to which the figures are added: delete it, or move it elsewhere, and "
            "a new one is begun"
        ) from error
    return {"choice": None, **content}


def add(folder: Path, entries: list[dict[str, Any]], choice: dict[str, Any] | None, own_images: bool) -> None:
    """Add evaluations, each in place of an earlier one of the same setting on the same images. Raises RunError.

    Args:
        choice: of the best setting, where one was asked for. The run's own stays where it was made on other images.
    """
    before = read(folder)
    kept = {tuple(entry[name] for name in KEY): entry for entry in [*before["evaluations"], *entries]}
    content = {**before, "evaluations": [kept[key] for key in sorted(kept)]}
    if choice is not None and own_images:
        content["choice"] = choice
    elif choice is not None:
        elsewhere = before.get("choices_on_other_images")
        content["choices_on_other_images"] = {
            **(elsewhere if isinstance(elsewhere, dict) else {}),
            entries[0]["images"]: choice,
        }
    write_atomically(folder / FILE, json.dumps(content, indent=2) + "\n")


def keep_images(folder: Path, entry: dict[str, Any], evaluation: "Evaluation") -> None:
    """Write which images an evaluation is right about, and name the file in its entry, as `predictions`.

    An npz of index (images,) int64 and correct (images,) bool, about a byte an image.
    """
    setting = "-".join(str(entry[name]) for name in ("split", *EvaluationSetting._fields))
    path = Path(FOLDER) / f"{setting}-{entry['images'][:8]}.npz"
    (folder / FOLDER).mkdir(exist_ok=True)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, index=evaluation.indices.numpy(), correct=evaluation.correct.numpy())

    write_atomically(folder / path, write)
    entry["predictions"] = str(path)
