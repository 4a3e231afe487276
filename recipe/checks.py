"""What a config may hold: each value within its range, no two values that contradict each other.

Knows the schema alone, neither torch nor Hydra: a wrong config is refused in well under a second.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from recipe.config import MISSING, Config
from recipe.errors import ConfigError


def check(config: Config, world_size: int = 1) -> None:
    """Refuse a config that cannot be run by `world_size` processes. Raises ConfigError with one message."""
    for dotted, value, limits in leaves(config):
        _check_value(dotted, value, limits)
    for contradiction in CONTRADICTIONS:
        contradiction(config)
    _check_world_size(config, world_size)


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """(dotted key, value, what the schema says of it) for every key of a config."""
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value, dict(item.metadata)


def did_you_mean(word: str, known: list[str]) -> str:
    """A sentence with the nearest valid name, or nothing."""
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else ""


def _check_value(dotted: str, value: Any, limits: dict[str, Any]) -> None:
    if value == MISSING:
        raise ConfigError(f"{dotted} is not set: give it a value, as in {dotted}=…")
    if isinstance(value, list):
        for item in value:
            _check_value(dotted, item, limits)
        return
    if value is None or isinstance(value, dict):
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{dotted}={value}: must be a finite number")
    if "choices" in limits and value not in limits["choices"]:
        known = list(limits["choices"])
        raise ConfigError(f"{dotted}={value}: must be one of {', '.join(known)}.{did_you_mean(str(value), known)}")
    for name, allowed in (
        ("at_least", lambda limit: value >= limit),
        ("above", lambda limit: value > limit),
        ("at_most", lambda limit: value <= limit),
        ("below", lambda limit: value < limit),
    ):
        if name in limits and not allowed(limits[name]):
            raise ConfigError(f"{dotted}={value}: must be {name.replace('_', ' ')} {limits[name]}")


def _check_resolution(config: Config) -> None:
    resolution = config.resolution
    if resolution.val_crop > resolution.val_resize:
        raise ConfigError(
            f"resolution.val_crop={resolution.val_crop} is larger than the resized image "
            f"(resolution.val_resize={resolution.val_resize}): crop at most {resolution.val_resize} pixels"
        )
    if resolution.train_resize is not None and resolution.train_crop > resolution.train_resize:
        raise ConfigError(
            f"resolution.train_crop={resolution.train_crop} is larger than the resized image (resolution.train_resize="
            f"{resolution.train_resize}): crop at most {resolution.train_resize} pixels, or leave train_resize at null"
        )


def _check_loss(config: Config) -> None:
    if config.loss.name == "nll" and config.model.head != "mlp":
        raise ConfigError(
            f"loss.name=nll takes the log-probabilities that model.head=mlp gives, and model.head={config.model.head} "
            "gives logits: use loss=cross_entropy, which is the same on those, or model.head=mlp"
        )


def _check_early_stopping(config: Config) -> None:
    stopping = config.early_stopping
    if stopping.loss_below is not None and stopping.patience is None:
        raise ConfigError(
            f"early_stopping.loss_below={stopping.loss_below:g} says from which loss on patience may run out: it needs "
            "early_stopping.patience=…, evaluations without a better top-1"
        )


def _check_pairs(config: Config) -> None:
    for dotted, values, length in (
        ("augment.scale", config.augment.scale, 2),
        ("augment.ratio", config.augment.ratio, 2),
        ("optimizer.betas", config.optimizer.betas, 2),
        ("data.mean", config.data.mean, 3),
        ("data.std", config.data.std, 3),
    ):
        if len(values) != length:
            raise ConfigError(f"{dotted}={values}: must be a list of {length} numbers")
    for dotted, (low, high) in (("augment.scale", config.augment.scale), ("augment.ratio", config.augment.ratio)):
        if low > high:
            raise ConfigError(f"{dotted}=[{low}, {high}]: the smaller number comes first")


def _check_schedule(config: Config) -> None:
    schedule = config.schedule
    if schedule.warmup_epochs >= config.epochs:
        raise ConfigError(
            f"schedule.warmup_epochs={schedule.warmup_epochs:g} is not shorter than the run (epochs={config.epochs}): "
            f"warm up for less than {config.epochs} epochs"
        )
    if schedule.min_lr > config.optimizer.lr:
        raise ConfigError(
            f"schedule.min_lr={schedule.min_lr:g} is above optimizer.lr={config.optimizer.lr:g}: "
            "the learning rate falls from lr to min_lr"
        )
    if schedule.name != "onecycle":
        return
    if schedule.warmup_epochs > 0:
        raise ConfigError(
            f"schedule.warmup_epochs={schedule.warmup_epochs:g} with schedule=onecycle, which has a warm-up of its "
            "own: use schedule.warmup_epochs=0 and choose schedule.pct_start"
        )
    if schedule.base_momentum > schedule.max_momentum:
        raise ConfigError(
            f"schedule.base_momentum={schedule.base_momentum:g} is above schedule.max_momentum="
            f"{schedule.max_momentum:g}: momentum is lowest where the learning rate is highest"
        )


def _check_optimizer(config: Config) -> None:
    optimizer = config.optimizer
    if optimizer.nesterov and (optimizer.name != "sgd" or optimizer.momentum == 0):
        raise ConfigError("optimizer.nesterov=true needs optimizer.name=sgd and a momentum above 0")


def _check_start(config: Config) -> None:
    """What is frozen, or trained more slowly, must have been trained before; what is loaded is not initialised."""
    model, optimizer = config.model, config.optimizer
    if model.freeze != "none" and model.weights is None:
        raise ConfigError(
            f"model.freeze={model.freeze} without model.weights would keep random weights: "
            "say what to start from, as in model.weights=IMAGENET1K_V2"
        )
    if model.frozen_batch_norm == "eval" and model.freeze == "none":
        raise ConfigError(
            "model.frozen_batch_norm=eval is about frozen layers, and model.freeze=none freezes none: "
            "add model.freeze=backbone or a stage's name"
        )
    for dotted, value in (
        ("optimizer.backbone_lr_factor", optimizer.backbone_lr_factor),
        ("optimizer.layer_decay", optimizer.layer_decay),
    ):
        if value != 1 and model.freeze == "backbone":
            raise ConfigError(
                f"{dotted}={value:g} sets the learning rate of layers that model.freeze=backbone does not train: "
                "leave one of the two out"
            )
    if model.zero_init_residual and model.weights is not None:
        raise ConfigError(
            f"model.zero_init_residual=true and model.weights={model.weights}: the norms that it would start at 0 "
            "come from the weights; leave one of the two out"
        )


def _check_head(config: Config) -> None:
    model = config.model
    if model.head == "linear" and model.head_dropout > 0:
        raise ConfigError(
            f"model.head_dropout={model.head_dropout:g}: model.head=linear has no dropout; "
            "use model.head=mlp or concat_pool"
        )


def _check_batches(config: Config) -> None:
    batch, micro = config.batch_size, config.micro_batch_size
    if batch % micro:
        sizes = _either(sorted(sorted(_divisors(batch)[1:], key=lambda size: abs(size - micro))[:4]))
        raise ConfigError(
            f"batch_size={batch} is not a multiple of micro_batch_size={micro}: "
            f"micro_batch_size must divide it ({sizes} would)"
        )
    repetitions = config.sampler.repetitions
    if repetitions > batch // micro:
        fitting = [size for size in _divisors(batch) if size >= 2 and batch // size >= repetitions]
        mend = f"use micro_batch_size={fitting[-1]}" if fitting else f"raise batch_size to {2 * repetitions} or more"
        raise ConfigError(
            f"sampler.repetitions={repetitions} with {batch // micro} micro-batch(es) of {micro} to a step: repeats of "
            f"an image would meet in one micro-batch, where mixup mixes an image with itself; {mend} "
            "(it is also the batch that batch norm sees)"
        )


def _check_grid(config: Config) -> None:
    for entry in config.evaluate.grid:
        valid = "entries are {weights: raw or ema, val_resize: pixels, val_crop: pixels}"
        if not isinstance(entry, dict):
            raise ConfigError(f"evaluate.grid: {entry!r} is not an entry; {valid}")
        for name, value in entry.items():
            sizes = name in ("val_resize", "val_crop") and isinstance(value, int) and value >= 8
            if not sizes and not (name == "weights" and value in ("raw", "ema")):
                raise ConfigError(f"evaluate.grid: {name}: {value} is not valid; {valid}")
        if entry.get("weights") == "ema" and config.ema.decay is None:
            raise ConfigError("evaluate.grid: weights: ema, but there is no average: choose ema=ema or weights: raw")
        resize = entry.get("val_resize", config.resolution.val_resize)
        crop = entry.get("val_crop", config.resolution.val_crop)
        if crop > resize:
            raise ConfigError(f"evaluate.grid: val_crop {crop} is larger than the resized image (val_resize {resize})")


def _check_data(config: Config) -> None:
    data = config.data
    if data.name in ("imagefolder", "imagenet"):
        if data.root is None:
            hint = " or $IMAGENET_DIR" if data.name == "imagenet" else ""
            raise ConfigError(f"this data set needs data.root=FOLDER{hint}: a folder with train/ and val/")
        if not os.path.isdir(data.root):
            raise ConfigError(f"data.root={data.root}: there is no such folder")
    if data.val_fraction is not None and (data.name not in ("imagefolder", "imagenet") or data.val_dir is not None):
        raise ConfigError(
            f"data.val_fraction={data.val_fraction:g} holds images out of one folder of class folders: it is for "
            "data=imagefolder, and without data.val_dir"
        )
    if data.name == "synthetic" and data.num_classes is None:
        raise ConfigError("data=synthetic needs data.num_classes=…")


def _check_folds(config: Config) -> None:
    data = config.data
    if data.folds is None and data.fold is None:
        return
    if data.folds is None or data.fold is None:
        raise ConfigError(
            "cross-validation needs both, data.folds=5 for the number of parts and data.fold=0 for the part to "
            "validate on"
        )
    if data.fold >= data.folds:
        raise ConfigError(f"data.fold={data.fold}: must be from 0 to {data.folds - 1}, as data.folds={data.folds}")
    for dotted, value in (("data.val_fraction", data.val_fraction), ("data.val_dir", data.val_dir)):
        if value is not None:
            raise ConfigError(
                f"{dotted}={value} and data.folds={data.folds} both say what to validate on: leave one of the two out"
            )


def _check_precision(config: Config) -> None:
    if config.runtime.precision == "fp16" and config.runtime.device == "cpu":
        raise ConfigError("runtime.precision=fp16 needs a GPU: use bf16 or fp32 on a CPU")


CONTRADICTIONS = (
    _check_resolution,
    _check_loss,
    _check_early_stopping,
    _check_pairs,
    _check_schedule,
    _check_optimizer,
    _check_start,
    _check_head,
    _check_batches,
    _check_grid,
    _check_data,
    _check_folds,
    _check_precision,
)


def _check_world_size(config: Config, world_size: int) -> None:
    batch, micro = config.batch_size, config.micro_batch_size
    count = batch // micro
    if config.model.sync_batch_norm and world_size != count:
        raise ConfigError(
            f"model.sync_batch_norm needs one process for each of the {count} micro-batches, not {world_size}: "
            f"use {count} processes"
        )
    if config.model.sync_batch_norm and config.runtime.device in ("cpu", "mps"):
        raise ConfigError("model.sync_batch_norm=true needs GPUs: PyTorch has none of it on a CPU")
    if count % world_size == 0:
        return
    processes = _divisors(count)
    mend = f"use {_either(processes)} process{'es' if processes != [1] else ''}"
    smaller = [size for size in _divisors(batch) if 2 <= size < micro and batch // size % world_size == 0]
    if smaller:
        mend += (
            f", or micro_batch_size={smaller[-1]}: batch-norm batches of {smaller[-1]} instead of {micro}, "
            "another experiment, as the run folder's name will say"
        )
    raise ConfigError(
        f"{world_size} processes cannot share the {count} micro-batch(es) of a step "
        f"(batch_size {batch} / micro_batch_size {micro}): {mend}"
    )


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _either(numbers: list[int]) -> str:
    words = [str(number) for number in numbers]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
