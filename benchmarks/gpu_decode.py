"""Decoding on the GPU beside decoding on the cores: `python benchmarks/gpu_decode.py PHOTOS [--seconds 120]`.

PHOTOS is a folder or a tar file of JPEGs. In rounds, in turn: torchvision's batched decode_jpeg on the GPU (nvJPEG; the
files' bytes lie in memory), and as many processes as the machine has cores that decode whole files, or only a training
crop of them where nvImageCodec is installed, as data workers do. Then how far the GPU's pixels are from Pillow's.
Without a GPU it says so, and measures the cores alone.
"""

import argparse
import io
import json
import multiprocessing
import statistics
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.io import decode_jpeg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recipe.commands.bench.step import device_name  # noqa: E402
from recipe.config import AugmentConfig  # noqa: E402
from recipe.data import region  # noqa: E402
from recipe.data.decode import open_image  # noqa: E402
from recipe.files import unpack, write_atomically  # noqa: E402
from recipe.ingredients.augment import draw_crop  # noqa: E402
from recipe.machine.limits import cores  # noqa: E402
from recipe.randomness import Draws  # noqa: E402

BATCH, LEAST_ROUNDS = 128, 3


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--out", type=Path, default=Path("gpu_decode.json"))
    given = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        paths = unpacked(given.photos, Path(folder))
        encoded = [torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8) for path in paths]
        found: dict[str, Any] = {"cores": cores(), "photos": len(paths), "jpeg_regions": region.state()}
        with multiprocessing.get_context("fork").Pool(cores()) as pool:  # before this process starts on the GPU
            found["device"] = device_name(device)
            print(f"{found['device']}, {cores()} cores, {len(paths)} photos; regions: {region.state()}", flush=True)
            ways = {
                "cores, whole files": lambda: len(pool.map(whole, paths, chunksize=4)),
                "cores, training crops": lambda: len(pool.map(crop, list(enumerate(paths)), chunksize=4)),
            }
            if device.type == "cuda":
                ways["GPU, whole files"] = lambda: on_gpu(encoded, device)
            else:
                print("no GPU here: only the cores are measured", flush=True)
            measure(ways, given.seconds, found, given.out)
        if device.type == "cuda":
            found["from Pillow"] = differences(paths, encoded, device)
            print(f"GPU against Pillow, grey levels of 255: {found['from Pillow']}")
            write_atomically(given.out, json.dumps(found, indent=2) + "\n")


def measure(ways: dict[str, Callable[[], int]], seconds: float, found: dict[str, Any], out: Path) -> None:
    """All in turn; the first round is not counted. Prints and keeps what is known after each round."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    found["images_per_second"] = rates
    begin, number = time.monotonic(), -1
    while number < LEAST_ROUNDS or time.monotonic() - begin < seconds:
        for name, way in ways.items():
            start = time.perf_counter()
            images = way()
            if number >= 0:
                rates[name].append(images / (time.perf_counter() - start))
        number += 1
        write_atomically(out, json.dumps(found, indent=2) + "\n")
    for name, each in rates.items():
        print(f"{name:24}{statistics.median(each):8,.0f} images/s, {min(each):,.0f} to {max(each):,.0f}", flush=True)


def whole(path: Path) -> None:
    """Decode a file in a worker; nothing is sent back."""
    open_image(path).whole()


def crop(numbered: tuple[int, Path]) -> None:
    """Decode what a training's draw needs of a file."""
    number, path = numbered
    picture = open_image(path)
    picture.pixels(draw_crop(AugmentConfig(), Draws(0, "crop", 0, number), picture.height, picture.width))


def on_gpu(encoded: list[torch.Tensor], device: torch.device) -> int:
    """All photos, a batch at a time, to RGB on the device."""
    for first in range(0, len(encoded), BATCH):
        decode_jpeg(encoded[first : first + BATCH], mode="RGB", device=device)
    torch.cuda.synchronize(device)
    return len(encoded)


def differences(paths: list[Path], encoded: list[torch.Tensor], device: torch.device) -> dict[str, float]:
    """Between the GPU's values and Pillow's, over all pixels and channels."""
    counts = np.zeros(256, dtype=np.int64)
    for path, content in zip(paths, encoded, strict=True):
        (image,) = decode_jpeg([content], mode="RGB", device=device)
        with Image.open(io.BytesIO(path.read_bytes())) as picture:
            expected = np.asarray(picture.convert("RGB"), dtype=np.int16)
        apart = np.abs(image.cpu().permute(1, 2, 0).numpy().astype(np.int16) - expected)
        counts += np.bincount(apart.ravel(), minlength=256)
    below = counts.cumsum() / counts.sum()
    mean = float((counts * np.arange(256)).sum() / counts.sum())
    return {"mean": mean, "99.9%": int((below < 0.999).sum()), "max": int(counts.nonzero()[0].max())}


def unpacked(photos: Path, folder: Path) -> list[Path]:
    """The JPEGs of a folder or a tar file, all but those in CMYK, which nvJPEG does not take."""
    if photos.is_file():
        with tarfile.open(photos) as files:
            unpack(files, folder)
        photos = folder
    found = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    return [path for path in found if Image.open(path).mode != "CMYK" and Image.open(path).format == "JPEG"]


if __name__ == "__main__":
    main()
