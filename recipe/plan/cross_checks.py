"""Values that are valid alone and contradict each other, or what is on this machine: a refusal for each."""

import os
from collections.abc import Callable, Sequence
from mimetypes import guess_type

from recipe.config import Config
from recipe.data.formats import FORMATS
from recipe.data.grocery import CLASSES
from recipe.data.packed.patterns import is_archive, is_there
from recipe.errors import ConfigError
from recipe.ingredients.timm_rand_augment import parsed


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


def _check_resizing(config: Config) -> None:
    sizes = config.resolution
    if sizes.first_crop is not None:
        first = f"resolution.first_crop={sizes.first_crop}"
        if sizes.first_crop > sizes.train_crop:
            raise ConfigError(f"{first} is larger than resolution.train_crop={sizes.train_crop}: crops grow to that")
        if sizes.train_resize is not None:
            raise ConfigError(
                f"{first} with resolution.train_resize={sizes.train_resize}: crops that grow are resized to their own "
                "size; leave train_resize at null"
            )
        if sizes.grow_from > sizes.grow_until:
            raise ConfigError(
                f"resolution.grow_from={sizes.grow_from:g} is after resolution.grow_until={sizes.grow_until:g}"
            )
    if sizes.resize_from is not None and sizes.resize_delay + sizes.resize_finetune >= 1:
        raise ConfigError(
            f"resolution.resize_delay={sizes.resize_delay:g} and resize_finetune={sizes.resize_finetune:g} leave no "
            "part of the run in which images grow: together they must be less than 1"
        )


def _check_loss(config: Config) -> None:
    if config.loss.name == "nll" and config.model.head != "mlp":
        raise ConfigError(
            f"loss.name=nll takes the log-probabilities that model.head=mlp gives, and model.head={config.model.head} "
            "gives logits: use loss=cross_entropy, which is the same on those, or model.head=mlp"
        )


def _check_policy(config: Config) -> None:
    if config.augment.policy != "timm":
        return
    parsed(config.augment.timm_policy)
    if config.augment.policy_on == "device":
        raise ConfigError(
            "augment.policy_on=device with augment.policy=timm: timm's operations are Pillow's and are done by the "
            "workers; leave policy_on at host"
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
    if schedule.warmup_epochs + schedule.cooldown_epochs >= config.epochs:
        raise ConfigError(
            f"schedule.cooldown_epochs={schedule.cooldown_epochs:g} leaves no epoch after the warm-up "
            f"(epochs={config.epochs}, of which they are a part): cool down for less"
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
    """Refuse to freeze, or train more slowly, what was not trained before; and to initialise what is loaded."""
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
    if model.init != "source" and model.weights is not None:
        raise ConfigError(
            f"model.init={model.init} and model.weights={model.weights}: what it would start comes from the weights; "
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
        sizes = either(sorted(sorted(divisors(batch)[1:], key=lambda size: abs(size - micro))[:4]))
        raise ConfigError(
            f"batch_size={batch} is not a multiple of micro_batch_size={micro}: "
            f"micro_batch_size must divide it ({sizes} would)"
        )
    repetitions = config.sampler.repetitions
    if repetitions > batch // micro:
        fitting = [size for size in divisors(batch) if size >= 2 and batch // size >= repetitions]
        mend = f"use micro_batch_size={fitting[-1]}" if fitting else f"raise batch_size to {2 * repetitions} or more"
        raise ConfigError(
            f"sampler.repetitions={repetitions} with {batch // micro} micro-batch(es) of {micro} to a step: repeats of "
            f"an image would meet in one micro-batch, where mixup mixes an image with itself; {mend} "
            "(it is also the batch that batch norm sees)"
        )


def _check_grid(config: Config) -> None:
    for entry in config.evaluate.grid:
        valid = "entries are {weights: raw or ema, val_resize: pixels, val_crop: pixels, flip: true or false}"
        if not isinstance(entry, dict):
            raise ConfigError(f"evaluate.grid: {entry!r} is not an entry; {valid}")
        for name, value in entry.items():
            sizes = name in ("val_resize", "val_crop") and isinstance(value, int) and value >= 8
            flip = name == "flip" and isinstance(value, bool)
            if not sizes and not flip and not (name == "weights" and value in ("raw", "ema")):
                raise ConfigError(f"evaluate.grid: {name}: {value} is not valid; {valid}")
        if entry.get("weights") == "ema" and config.ema.decay is None:
            raise ConfigError("evaluate.grid: weights: ema, but there is no average: choose ema=ema or weights: raw")
        resize = entry.get("val_resize", config.resolution.val_resize)
        crop = entry.get("val_crop", config.resolution.val_crop)
        if crop > resize:
            raise ConfigError(f"evaluate.grid: val_crop {crop} is larger than the resized image (val_resize {resize})")


def _check_data(config: Config) -> None:
    data, known = config.data, FORMATS[config.data.name]
    for name, otherwise in known.needs.items():
        if getattr(data, name) is None:
            raise ConfigError(otherwise)
    if "root" in known.needs and not is_there(str(data.root)):
        raise ConfigError(
            f"data.root={data.root}: there is no such {'file' if is_archive(str(data.root)) else 'folder'}"
        )
    if data.val_fraction is not None and (not known.divisible or data.val_dir is not None):
        raise ConfigError(
            f"data.val_fraction={data.val_fraction:g} holds images out of one folder of class folders: it is for "
            "data=imagefolder, and without data.val_dir"
        )


def check_not_taken_for_the_demo(config: Config) -> None:
    """Refuse a folder of one's own photos with the demo's data: it would be trained as groceries.

    (Apart from the others: finished runs that were trained so are still evaluated.)
    """
    data, instead = config.data, FORMATS[config.data.name].instead
    if data.root is None or not instead or not os.path.isdir(data.root):
        return
    train = os.path.join(data.root, data.train_dir)
    folders = [entry for entry in os.scandir(train if os.path.isdir(train) else data.root) if entry.is_dir()]
    if {folder.name for folder in folders} != set(CLASSES) and any(_has_images(folder.path) for folder in folders):
        raise ConfigError(
            f"data.root={data.root} holds class folders of other photos, and data={data.name} {instead}: "
            "add data=imagefolder for your own"
        )


def _has_images(folder: str) -> bool:
    """Whether a folder holds images, by their names."""
    try:
        return any((guess_type(entry.name)[0] or "").startswith("image/") for entry in os.scandir(folder))
    except OSError:
        return False


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


def _check_compile(config: Config) -> None:
    runtime = config.runtime
    if runtime.compile_mode not in ("default", "auto") and not runtime.compile:
        raise ConfigError(
            f"runtime.compile_mode={runtime.compile_mode} says how to compile, and nothing is compiled: "
            "add runtime.compile=true"
        )
    if runtime.compile_mode == "max-autotune" and runtime.deterministic:
        raise ConfigError(
            "runtime.compile_mode=max-autotune picks kernels by the clock, so that two runs differ: with "
            "runtime.deterministic=true use default or reduce-overhead"
        )


CONTRADICTIONS: tuple[Callable[[Config], None], ...] = (
    _check_resolution,
    _check_resizing,
    _check_loss,
    _check_policy,
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
    _check_compile,
)


def divisors(number: int) -> list[int]:
    """All divisors, from 1 to the number itself."""
    return [n for n in range(1, number + 1) if number % n == 0]


def either(choices: Sequence[object]) -> str:
    """Choices as text, as in 2, 4 or 8."""
    words = [str(choice) for choice in choices]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
