"""Files of weights that any trainer may have written: the tensors in them, and which are a network's."""

import argparse
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recipe.errors import RunError
from recipe.network.states import with_metadata

DEPTH = 3  # of dicts in dicts that are searched for a state dict
AVERAGED = {"ema", "averaged", "average", "avg", "swa", "teacher"}  # parts of names: they come first, as runs here end
COUNTERS = ("n_averaged",)  # of torch's AveragedModel: no weights
NO_CODE = (
    "A file of more than tensors and plain values could run code and is not loaded: where you trust it, save its state "
    "dict alone, torch.save(network.state_dict(), FILE)"
)


class Found(NamedTuple):
    """A state dict in a file."""

    state: dict[str, Tensor]  # in the network's names
    inside: str  # where in the file: keys, then the prefix of its names; "" where it is the whole file
    beside: tuple[str, ...]  # tensors next to it without its prefix


def read(file: Path) -> Any:
    """The tensors and plain values that a file holds; in the place of other objects there is nothing. Raises RunError.

    No code of the file's choice runs: classes that PyTorch does not know to be harmless are not even imported.
    """
    unknown: list[str] = []
    try:
        with file.open("rb") as opened:
            start = opened.read(9)
        if start[8:] == b"{" and not start.startswith(b"PK"):
            from safetensors.torch import load_file

            return load_file(file)
        if start.startswith(b"PK"):
            unknown = torch.serialization.get_unsafe_globals_in_checkpoint(str(file))
        stand_ins: list[Any] = [(_Nothing, name) for name in unknown]
        # (torchvision's reference script saves its flags, a Namespace of plain values, beside the weights.)
        with torch.serialization.safe_globals([argparse.Namespace, *stand_ins]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        advice = f". {NO_CODE}" if isinstance(error, pickle.UnpicklingError) and file.stat().st_size else ""
        raise RunError(f"model.weights: {file} cannot be read: {_reason(file, error)}{advice}") from error
    if unknown and next(_state_dicts(content), None) is None:
        names = ", ".join(sorted(unknown)[:3]) + (" …" if len(unknown) > 3 else "")
        raise RunError(f"model.weights: {file} holds no state dict, but objects ({names}). {NO_CODE}")
    return content


def network_in(content: Any, own: Mapping[str, Tensor]) -> Found:
    """The state dict, in a checkpoint's content, that has the most of the network's names. Raises RunError.

    A prefix of the names (module., model., backbone. …) goes where the names then fit better than with it. Averaged
    weights come before others.
    """
    found: list[tuple[tuple[int, bool, int], Found]] = []
    for path, state in _state_dicts(content):
        for prefix in _prefixes(state, own):
            names = {name.removeprefix(prefix) for name in state if name.startswith(prefix)}
            rank = len(own.keys() & names), _is_average(f"{path}.{prefix}"), -len(prefix) if prefix else len(names)
            found.append((rank, _without(prefix, state, path)))
    if not found:
        held = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else ""
        keys = f": it holds {held}" if held else ""
        raise RunError(f"model.weights: the file holds no state dict, tensors by name{keys}")
    return max(found, key=lambda each: each[0])[1]


def _state_dicts(content: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Every dict of tensors, with the keys that lead to it."""
    if not isinstance(content, Mapping) or depth > DEPTH:
        return
    tensors = {n: t for n, t in content.items() if isinstance(n, str) and isinstance(t, Tensor) and n not in COUNTERS}
    if tensors:
        yield path, with_metadata(tensors, getattr(content, "_metadata", None))
    for name, value in content.items():
        yield from _state_dicts(value, f"{path}.{name}" if path else str(name), depth + 1)


def _prefixes(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """What may stand before the network's names in these: nothing, and whatever stands before its first and last."""
    names = list(own)
    probes = {names[0], names[len(names) // 2], names[-1]} if names else set()
    before = {name.removesuffix(probe) for name in state for probe in probes if name.endswith(f".{probe}")}
    return ["", *sorted(before)]


def _without(prefix: str, state: Mapping[str, Tensor], path: str) -> Found:
    tensors = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    metadata = getattr(state, "_metadata", None)
    if metadata is not None and prefix:
        root = prefix.rstrip(".")
        metadata = {name[len(root) :].lstrip("."): about for name, about in metadata.items() if name.startswith(root)}
    beside = tuple(name for name in state if not name.startswith(prefix))
    where = ", ".join(part for part in (path, f"{prefix}…" if prefix else "") if part)
    return Found(with_metadata(tensors, metadata), where, beside)


def _is_average(name: str) -> bool:
    return not AVERAGED.isdisjoint(name.replace(".", "_").lower().split("_"))


def _reason(file: Path, error: Exception) -> str:
    """In words where it is one of the common ones."""
    with file.open("rb") as opened:
        start = opened.read(200)
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, not the file itself (git lfs pull fetches that)"
    if start.lstrip()[:1] == b"<":
        return "it is a web page, not the file that was to be downloaded"
    if start.startswith(b"PK") and ("PytorchStreamReader" in str(error) or not zipfile.is_zipfile(file)):
        return "it is cut off, or no file of torch.save"
    if file.suffix == ".safetensors":
        return "it is cut off, or no safetensors file"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


class _Nothing(dict[Any, Any]):
    """What objects of unknown classes become: it takes whatever they are given and does nothing with it."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __setstate__(self, _: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)
