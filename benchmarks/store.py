"""What a store changes: `python benchmarks/store.py FOLDER` of photos, at any depth.

For each setting: the store's bytes as a share of the originals', and how far training crops of 176 pixels from it are
from the same crops of the originals, in grey levels of 255. The boxes are those that training draws, to a fraction of a
pixel the same place in both. How much faster a store is to decode, `recipe bench` says.
"""

import io
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from PIL import Image

from recipe.config import AugmentConfig
from recipe.data.decode import decode
from recipe.data.image_files import IMAGE_SUFFIXES
from recipe.data.prepare import store
from recipe.ingredients.augment import draw_crop
from recipe.machine.limits import cores
from recipe.randomness import Draws

SETTINGS = ((400, 90), (500, 95))  # max side, quality
CROP = 176  # pixels
CROPS = 8  # of each photo


def main() -> None:
    """Print a row for each setting."""
    photos = sorted(path for path in Path(sys.argv[1]).resolve().rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    print(f"{len(photos)} photos, {CROPS} crops of each at {CROP}\n")
    print(
        f"{'max side':>8}{'quality':>9}{'re-encoded':>12}{'bytes':>8}{'mean difference':>17}{'99.9th percentile':>19}"
    )
    with tempfile.TemporaryDirectory() as folder:
        names = _class_folders(photos, Path(folder) / "photos")
        for max_side, quality in SETTINGS:
            target = Path(folder) / f"{max_side}-{quality}"
            with redirect_stdout(io.StringIO()):
                facts = store.prepare(Path(folder) / "photos", target, ".", max_side, quality, cores(), False)
            pairs = ((photo, target / store.stored_name(name)) for photo, name in zip(photos, names, strict=True))
            found = np.concatenate([_differences(*pair, number) for number, pair in enumerate(pairs)])
            share = facts["bytes_after"] / facts["bytes_before"]
            re_encoded = f"{facts['re_encoded']} of {facts['images']}"
            percentile = np.percentile(found, 99.9)
            print(f"{max_side:8}{quality:9}{re_encoded:>12}{share:8.1%}{found.mean():17.2f}{percentile:19.0f}")


def _class_folders(photos: list[Path], folder: Path) -> list[str]:
    """Links to the photos in two class folders, as a store wants them; their names."""
    names = [f"{'ab'[number % 2]}/{number:06}{photo.suffix}" for number, photo in enumerate(photos)]
    for photo, name in zip(photos, names, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(photo)
    return names


def _differences(original: Path, stored: Path, number: int) -> np.ndarray:
    """Absolute differences of all pixels and channels of the crops."""
    pictures = [Image.fromarray(decode(path.read_bytes()).permute(1, 2, 0).numpy()) for path in (original, stored)]
    found = []
    for crop in range(CROPS):
        box = draw_crop(AugmentConfig(), Draws(0, "store", number, crop), pictures[0].height, pictures[0].width)
        one, other = (np.asarray(_crop(picture, box, pictures[0].size), dtype=np.int16) for picture in pictures)
        found.append(np.abs(one - other).astype(np.uint8).ravel())
    return np.concatenate(found)


def _crop(picture: Image.Image, box: tuple[int, int, int, int], size: tuple[int, int]) -> Image.Image:
    """The box, which is counted in an image of `size`, resized as training does."""
    top, left, height, width = box
    x, y = picture.width / size[0], picture.height / size[1]
    where = (left * x, top * y, (left + width) * x, (top + height) * y)
    return picture.resize((CROP, CROP), Image.Resampling.BILINEAR, box=where)


if __name__ == "__main__":
    main()
