"""Decoding only what a crop needs of a JPEG file, where nvImageCodec is installed (the extra `fast`).

libjpeg-turbo can leave out rows and columns; nvImageCodec is the library that hands this on to Python. On files that
`can_decode_region` accepts its pixels are bit for bit those of a full decoder, so it changes no run.
"""

import importlib.util
import io
import os
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from recipe.ingredients.box import Box

LEAST_WIDTH = 16  # pixels, of a box; one of a single column at the left edge comes out otherwise
END = b"\xff\xd9"  # the last marker; a file without it was cut off, which only full decoding would notice


def decode_region(encoded: bytes, box: Box) -> Tensor | None:
    """The box's pixels of a JPEG file, (3, height, width) uint8 RGB; None where this cannot be done here."""
    library = _library()
    return None if isinstance(library, str) or box.width < LEAST_WIDTH else _decode(*library, encoded, box)


def can_decode_region(encoded: bytes, channels: int) -> bool:
    """Whether a JPEG file is of the kind that is decoded here as by others."""
    return channels in (1, 3) and encoded.endswith(END) and available()


def available() -> bool:
    """Whether the library is here and works."""
    return not isinstance(_library(), str)


def state() -> str:
    """The library and its version, or why it is not used."""
    library = _library()
    return library if isinstance(library, str) else f"nvImageCodec {library[0].__version__}"


@cache
def _library() -> tuple[ModuleType, Any] | str:
    """The library and a decoder, or why it is not used."""
    try:
        codec = _import_for_cpu()
        cpu = codec.Backend(codec.CPU_ONLY)
        decoder = codec.Decoder(codec.NVIMGCODEC_DEVICE_CPU_ONLY, max_num_cpu_threads=1, backends=[cpu])
        if not _decodes_as_pillow(codec, decoder):
            return f"nvImageCodec {codec.__version__} gives other pixels than Pillow"
    except ModuleNotFoundError:
        return "nvImageCodec is not installed"
    except Exception as error:  # it is of another version or machine; without it the same pixels come more slowly
        return f"nvImageCodec does not work here: {error}".splitlines()[0]
    return codec, decoder


def _import_for_cpu() -> ModuleType:
    """With its decoder of JPEG files on CPUs alone: the others complain on stderr where they find no CUDA libraries."""
    spec = importlib.util.find_spec("nvidia.nvimgcodec")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        for extension in (Path(spec.origin).parent / "extensions").glob("libjpeg_turbo_ext*"):
            Path(folder, extension.name).symlink_to(extension)
        os.environ.update(NVIMGCODEC_EXTENSIONS_PATH=folder, PYNVIMGCODEC_VERBOSITY="0")
        try:
            from nvidia import nvimgcodec
        finally:
            os.environ.clear()
            os.environ.update(before)
    return nvimgcodec


def _decodes_as_pillow(codec: ModuleType, decoder: Any) -> bool:
    """Tried on a picture of noise, in a box whose corners lie inside the blocks that JPEG files are made of."""
    noise = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    box = Box(21, 35, 50, 53)
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    found = _decode(codec, decoder, file.getvalue(), box)
    return found is not None and torch.equal(found, box.of(expected))


def _decode(codec: ModuleType, decoder: Any, encoded: bytes, box: Box) -> Tensor | None:
    region = codec.Region(box.top, box.left, box.top + box.height, box.left + box.width)
    stream = codec.CodeStream(encoded).get_sub_code_stream(region=region)
    pixels = np.empty((box.height, box.width, 3), dtype=np.uint8)
    as_stored = codec.DecodeParams(apply_exif_orientation=False)
    done = decoder.decode(stream, image=codec.as_image(pixels), params=as_stored)
    return None if done is None else torch.from_numpy(pixels).permute(2, 0, 1)
