"""A trained network as a file that others can use: safetensors, for PyTorch, and ONNX, for everything else."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recipe.config import Config
from recipe.data.transforms import normalise
from recipe.encoding import as_json_text
from recipe.errors import RunError
from recipe.files import write_atomically
from recipe.machine import limits
from recipe.network.states import as_safetensors
from recipe.training.loop import channel_statistics

OPSET = 17  # of ONNX: layer normalisation as one operator; read by every onnxruntime since 1.12
INPUT, OUTPUT = "images", "logits"
TOLERANCE = 1e-3  # of the largest logit


class FromPixels(nn.Module):
    """The network with its normalisation inside: (n, H, W, 3) uint8 RGB to logits (n, classes)."""

    mean: Tensor  # (3, 1, 1)
    std: Tensor  # (3, 1, 1)

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images as decoders give them: each image's rows, columns, channels."""
        return self.network((images.permute(0, 3, 1, 2).to(self.mean.dtype) / 255 - self.mean) / self.std)


def write_safetensors(path: Path, network: nn.Module, about: dict[str, Any]) -> None:
    """The weights under the names that torchvision and timm give them. `about`: see `metadata`. Raises OSError."""
    write_atomically(path, as_safetensors(network, {"format": "pt", **metadata(about)}))


def write_onnx(path: Path, network: nn.Module, config: Config, about: dict[str, Any], with_preprocessing: bool) -> None:
    """The network as an ONNX graph with any batch size, in fp32. Raises RunError and OSError.

    Input "images": with preprocessing (n, val_crop, val_crop, 3) uint8 RGB, else (n, 3, val_crop, val_crop) float32,
    already normalised. Output "logits": (n, classes) float32. Images come resized and cropped: runtimes resize in their
    own ways, and other pixels are other logits.
    """
    try:
        import onnx
    except ImportError as error:
        raise RunError("--format onnx needs onnx: pip install -e '.[export]'") from error
    model = as_exported(network, config, with_preprocessing)
    # PyTorch's older exporter: it needs no further package, and the newer one took ten times as long.
    axes = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamic_axes": axes}

    def write(file: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is the older one; and of traced values that are constants here
            sample = (inputs(np.zeros((2, *_side(config), 3), dtype=np.uint8), config, with_preprocessing),)
            torch.onnx.export(model, sample, str(file), dynamo=False, opset_version=OPSET, **names)
        graph = onnx.load(str(file))
        for name, value in metadata(about).items():
            graph.metadata_props.add(key=name, value=value)
        onnx.checker.check_model(graph)
        onnx.save(graph, str(file))

    try:
        write_atomically(path, write)
    except (RuntimeError, ValueError) as error:  # torch.onnx's errors are these
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise RunError(f"PyTorch cannot write {config.model.name} as ONNX: {reason}") from error


def as_exported(network: nn.Module, config: Config, with_preprocessing: bool) -> nn.Module:
    """The network that the ONNX file holds, on the CPU in fp32."""
    network = network.cpu().float().eval()
    mean, std = (part.float() for part in channel_statistics(config, torch.device("cpu")))
    return FromPixels(network, mean, std).eval() if with_preprocessing else network


def largest_difference(path: Path, model: nn.Module, images: np.ndarray, config: Config, pixels: bool) -> float | None:
    """The largest difference of logits between the ONNX file and the model; None without onnxruntime.

    Args:
        model: of `as_exported`.
        images: (n, val_crop, val_crop, 3) uint8 RGB.
        pixels: whether the file takes pixels.

    Raises RunError where it is larger than TOLERANCE of the largest logit.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = limits.cores()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for part in (images, images[:1]):  # two batch sizes
        batch = inputs(part, config, pixels)
        (found,) = session.run([OUTPUT], {INPUT: batch.numpy()})
        with torch.inference_mode():
            expected = model(batch).numpy()
        difference = float(np.abs(found - expected).max())
        limit = TOLERANCE * max(1.0, float(np.abs(expected).max()))
        if not difference <= limit:
            raise RunError(f"{path}: its logits differ from the network's by {difference:.2g}, which is too much")
        worst = max(worst, difference)
    return worst


def inputs(images: np.ndarray, config: Config, pixels: bool) -> Tensor:
    """Images (n, H, W, 3) uint8 as the exported network takes them."""
    batch = torch.from_numpy(np.ascontiguousarray(images))
    if pixels:
        return batch
    mean, std = (part.float() for part in channel_statistics(config, torch.device("cpu")))
    return normalise(batch.permute(0, 3, 1, 2).contiguous(), mean, std, torch.float32)


def metadata(about: dict[str, Any]) -> dict[str, str]:
    """What a file says of itself: each value as JSON."""
    return {name: as_json_text(json.dumps(value, ensure_ascii=False)) for name, value in about.items()}


def _side(config: Config) -> tuple[int, int]:
    return config.resolution.val_crop, config.resolution.val_crop
