"""A finished run, read back from its folder: its config, its result, its networks.

Imports PyTorch only for the latter, so that commands refuse a wrong folder at once.
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from recipe import stored_config
from recipe.config import Config
from recipe.errors import ConfigError, RunError
from recipe.files import read_json
from recipe.guesses import did_you_mean
from recipe.network import kept_files

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from recipe.training.evaluate import Evaluation

WEIGHTS = ("raw", "ema", "best")
RESULT = ("name", "recipe", "weights", "raw", "acc1", "loss", "training_hash", "result_hash")  # every result has these


@dataclass(frozen=True)
class Trained:
    """What a run folder says of its run."""

    folder: Path
    config: Config
    environment: dict[str, Any]
    result: dict[str, Any]

    @property
    def name(self) -> str:
        """The run's name with its seed."""
        return f"{self.result['name']}, seed {self.config.seed}"


def read(folder: Path) -> Trained:
    """The finished run in a folder. Raises RunError where there is none."""
    if folder.is_file():
        raise RunError(f"{folder} is a file, and the folder of a run is asked for{_run_above(folder)}")
    if not folder.is_dir():
        raise RunError(f"there is no folder {folder}")
    if not (folder / "result.json").exists():
        if (folder / "environment.json").exists():
            raise RunError(f"the run in {folder} has not finished: run its command again, and it goes on")
        raise RunError(f"{folder} is not the folder of a run: it has no result.json")
    return Trained(
        folder=folder,
        config=stored_config.load(folder / "config.yaml"),
        environment=read_json(folder / "environment.json", "classes", "data"),
        result=read_json(folder / "result.json", *RESULT),
    )


def _run_above(file: Path) -> str:
    """The run whose file it is, in words; nothing where it is none's."""
    run = next((folder for folder in file.parents[:2] if (folder / "result.json").exists()), None)
    return f": {run}" if run else ""


def evaluation_config(run: Trained) -> Config:
    """The run's config as its networks are used: in fp32, or fp64 where they were trained so, as in its evaluations."""
    config = deepcopy(run.config)
    if config.runtime.precision != "fp64":
        config.runtime.precision = "fp32"
    return config


def weights_of(run: Trained) -> list[str]:
    """The kinds of weights that the run's config promises, of WEIGHTS; the one that counts comes first."""
    kinds = ["raw"] if run.config.ema.decay is None else ["ema", "raw"]
    return [*kinds, "best"] if run.result.get("best") else kinds  # a run that another trained for has no best


def check_weights(run: Trained, kind: str) -> None:
    """Raise ConfigError where the run has no such weights."""
    kinds = weights_of(run)
    if kind not in kinds:
        raise ConfigError(f"weights={kind}: {run.folder} has {', '.join(kinds)}.{did_you_mean(kind, kinds)}")


def networks(run: Trained, device: "torch.device", kinds: Sequence[str] = ("raw", "ema")) -> "dict[str, nn.Module]":
    """The run's networks of these kinds, ready to be evaluated; "best" is the epoch with the best validation figure.

    Where the folder of the run that trained for it is gone, there is only the one that counts. Kinds that there are not
    are left out. Raises RunError where there are none at all, or a file is broken.
    """
    from recipe.network.model import make_model
    from recipe.network.states import load

    assert run.config.data.num_classes is not None
    found = {}
    for kind, values in states(run, kinds).items():
        found[kind] = make_model(run.config, run.config.data.num_classes, arguments(run))
        load(found[kind], values)
        found[kind].to(device).eval()
    return found


def network(run: Trained, device: "torch.device", kind: str) -> "nn.Module":
    """The run's network of one kind. Raises RunError where its file is gone."""
    found = networks(run, device, [kind])
    if kind not in found:
        raise gone(run, kind)
    return found[kind]


def arguments(run: Trained) -> dict[str, Any] | None:
    """What its network's constructor was given, where its weights told that; the weights may be gone by now."""
    kept: dict[str, Any] | None = (run.environment.get("weights") or {}).get("arguments")
    return kept


def gone(run: Trained, kind: str) -> RunError:
    """Error for weights that the run had once."""
    return RunError(f"{run.folder} has no {kind} weights any more: their file in its checkpoints is gone")


def final_evaluation(run: Trained) -> "Evaluation":
    """The run's own final evaluation, from its predictions.npz and result.json. Raises RunError."""
    import numpy as np
    import torch

    from recipe.training.evaluate import Evaluation

    path = run.folder / "predictions.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            index, label, correct, logits = (
                torch.from_numpy(file[name]) for name in ("index", "label", "correct", "logits")
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())[:100]
        raise RunError(f"cannot read {path} ({reason}): without --report the images are evaluated anew") from error
    names = ("acc1", "acc5", "balanced_acc1", "loss")
    figures: dict[str, Any] = {name: math.nan if run.result[name] is None else run.result[name] for name in names}
    return Evaluation(**figures, indices=index, labels=label, correct=correct, logits=logits, unreadable=[])


def states(run: Trained, kinds: Sequence[str]) -> "dict[str, Mapping[str, Tensor]]":
    """State dicts of those weights that there are, raw before ema before best. Raises RunError as `networks` does."""
    own, counts = run.folder / "checkpoints", str(run.result["weights"])
    shared = run.result.get("trained_in")
    trained_in = run.folder / (shared or ".") / "checkpoints"
    index = kept_files.files(trained_in)
    files = dict(index) if index is not None else {"best": own / kept_files.BEST}
    if shared:
        files.pop("best", None)  # of epochs that were evaluated in another way
    files[counts] = own / kept_files.FINAL
    found = {kind: _read(files[kind], counts) for kind in kinds if kind in files and files[kind].exists()}
    wanted = {"raw", "ema"} & set(kinds) & set(weights_of(run))
    if index is None and wanted - found.keys():
        last = last_checkpoint(trained_in) or {"model": None, "ema": None}
        found = {**{kind: state for kind, state in (("raw", last["model"]), ("ema", last["ema"])) if state}, **found}
    if not found and wanted and not files[counts].exists():
        raise RunError(f"{own} holds no weights: neither {kept_files.LAST} nor {kept_files.FINAL}")
    return {kind: found[kind] for kind in WEIGHTS if kind in found and kind in kinds}


def last_checkpoint(checkpoints: Path) -> dict[str, Any] | None:
    """Checkpoint of the end of a run that keeps them; None where there are only earlier ones, or none."""
    from recipe.run.checkpoint import load_checkpoint

    loaded = load_checkpoint(checkpoints)
    return loaded.state if (checkpoints / kept_files.LAST).exists() and not loaded.refused else None


def _read(path: Path, counts: str) -> "Mapping[str, Tensor]":
    from safetensors.torch import load

    from recipe.run.checkpoint import load_tensors

    try:  # (safetensors' load_file maps the file into memory, which not every file system can do.)
        weights: Mapping[str, Tensor] = (
            load(path.read_bytes()) if path.suffix == ".safetensors" else load_tensors(path)["model"]
        )
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:100]
        otherwise = f": use weights={counts}" if path.name != kept_files.FINAL else ""
        raise RunError(f"{path} is not whole ({type(error).__name__}: {reason}){otherwise}") from error
    return weights
