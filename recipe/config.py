"""The schema: every config key once, with its unit, its range and the baseline's value.

`name`-like keys without a default (`???`) are set by the option of their config group, e.g. `conf/optimizer/sgd.yaml`.
This module imports neither torch nor Hydra, so that a config error is reported before either costs time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipe.schema import key, section

TORCH_OPTIMIZERS = ("sgd", "rmsprop", "adam", "adamw", "lamb")

INITS: tuple[str, ...] = ("source", "torchvision_resnet", "torchvision_mobilenet", "timm_efficientnet")
INITS += ("kaiming_normal", "kaiming_uniform", "pytorch", "mosaic")

# What some keys are used by: see `key`.
Users = Mapping[str, tuple[str, ...]]
FILES = ("grocery", "imagefolder", "imagenet")  # data sets of image files
ARCHIVED = ("imagefolder", "imagenet")  # of these, those that may lie in archives
HIDDEN: Users = {"head": ("mlp", "concat_pool")}
BOX: Users = {"crop": ("random_resized",)}
TORCH: Users = {"source": ("torch",)}
MOMENTUM: Users = {**TORCH, "name": ("sgd", "rmsprop")}
ADAM: Users = {**TORCH, "name": ("adam", "adamw", "lamb")}
WITH_EPS: Users = {**TORCH, "name": ("adam", "adamw", "lamb", "rmsprop")}
BY_GAMMA: Users = {"name": ("step", "exponential", "plateau")}
TO_MINIMUM: Users = {"name": ("cosine", "linear", "polynomial", "exponential", "plateau", "timm_cosine")}
TIMM_COSINE: Users = {"name": ("timm_cosine",)}
WEIGHTED: Users = {"name": ("cross_entropy", "bce")}
BCE: Users = {"name": ("bce",)}
PLATEAU: Users = {"name": ("plateau",)}
ONECYCLE: Users = {"name": ("onecycle",)}
CYCLED: Users = {**ONECYCLE, "cycle_momentum": ()}
GROWING: Users = {"first_crop": ()}
RESIZED: Users = {"resize_from": ()}
WARMUP: Users = {"warmup_epochs": ()}
FROM_SHARE: Users = {**WARMUP, "warmup_method": ("linear", "constant")}


@dataclass
class ModelConfig:
    name: str = key()  # architecture, as its source calls it
    source: str = key("torchvision", choices=("torchvision", "timm"))
    zero_init_residual: bool = key(False)  # last batch norm of each residual block starts at 0 instead of 1
    # How the layers' weights start (recipe/network/initial.py); source: as the network's own constructor starts them.
    init: str = key("source", choices=INITS, since="0.2")
    # small, for ResNets: 3x3 stride 1, no max-pooling; small_with_bias: the same as PyTorch's Conv2d is by itself
    stem: str = key("imagenet", choices=("imagenet", "small", "small_with_bias"))
    sync_batch_norm: bool = key(False)  # batch norm over the whole step; needs one process per micro-batch and GPUs
    # To start from: torchvision's name (IMAGENET1K_V2), a timm tag, DEFAULT, package:NAME, a file, a run's folder.
    weights: str | None = key(None)  # null: random; what stands in the hash is a file's content, not its path
    weights_cache: str | None = key(None, affects="nothing", used_by={"weights": ()}, since="0.2")  # of fetched ones
    freeze: str = key("none")  # backbone: all but the head; backbone_but_norms; a stage's name: it and all before it
    frozen_batch_norm: str = key("train", choices=("train", "eval"))  # train: frozen ones still follow the batches
    head: str = key("linear", choices=("linear", "mlp", "concat_pool"))  # recipe/network/heads.py
    head_width: int = key(256, at_least=1, used_by=HIDDEN, unit="hidden features")
    head_dropout: float = key(0.0, at_least=0, below=1, used_by=HIDDEN)  # concat_pool: half of it first, then all of it
    args: dict[str, Any] = key({}, since="0.2")  # further ones of the network's constructor: {drop_path_rate: 0.1}
    # What halves an image's sides sees it blurred (recipe/network/blur_pool.py): ffcv's form, and Composer's.
    blur_pool: str = key("none", choices=("none", "convolutions", "convolutions_and_max_pool"), since="0.2")


@dataclass
class DataConfig:
    name: str = key(choices=("grocery", "imagefolder", "imagenet", "synthetic"))
    root: str | None = key(None, affects="nothing")  # folder with train_dir and val_dir; grocery: cache folder
    format: str = key(
        "auto",
        choices=("auto", "folder", "tar", "zip", "imagenet_tar"),
        affects="nothing",
        used_by={"name": ARCHIVED},
        since="0.2",
    )  # how the images lie there: folders of files, or archives of such folders; imagenet_tar: ILSVRC2012's own
    train_dir: str = key("train", affects="nothing")
    val_dir: str | None = key(None, affects="nothing")  # null: val, valid or validation, whichever is there
    test_dir: str | None = key(None, affects="nothing")  # for `recipe evaluate RUN split=test`; null: test
    val_fraction: float | None = key(None, above=0, below=1)  # held out of one folder of class folders; null: val_dir
    folds: int | None = key(None, at_least=2)  # cross-validation: equal parts of the training set; null: off
    fold: int | None = key(None, at_least=0)  # the part to validate on, from 0; the others are trained on
    first_per_class: int | None = key(None, at_least=1, since="0.2", unit="images")  # to train on, at most; null: all
    exif_orientation: bool = key(False)  # turn photos as their EXIF says; the published runs did not
    on_corrupt: str = key(
        "fail", choices=("fail", "skip"), affects="nothing"
    )  # skip: go on without the images that cannot be read
    cache: str | None = key(
        None, choices=("memory",), affects="nothing", used_by={"name": FILES}, since="0.2"
    )  # memory: images are decoded once, and kept for all workers and jobs of a machine; null: from the files each time
    num_classes: int | None = key(None, at_least=2)  # null: from the folders (synthetic: 10)
    size: int = key(
        1024, at_least=1, used_by={"name": ("synthetic",)}, unit="images"
    )  # to train on; a quarter as many to validate
    mean: list[float] = key([0.485, 0.456, 0.406])  # of the RGB channels, on a scale from 0 to 1
    std: list[float] = key([0.229, 0.224, 0.225], above=0)
    workers: int | None = key(
        None, at_least=0, affects="nothing", unit="processes a rank"
    )  # decoding; null: from the cores


@dataclass
class ResolutionConfig:
    train_resize: int | None = key(None, at_least=8, unit="pixels")  # before the crop to train_crop; null: train_crop
    train_crop: int = key(224, at_least=8, unit="pixels")  # square
    # Smaller crops in earlier epochs, then larger ones until train_crop (recipe/ingredients/resizing.py); null: off
    first_crop: int | None = key(None, at_least=8, since="0.2", unit="pixels")
    grow_from: float = key(0.0, at_least=0, used_by=GROWING, since="0.2", unit="epochs")  # up to it first_crop
    grow_until: float = key(90.0, above=0, used_by=GROWING, since="0.2", unit="epochs")  # from it on train_crop
    grow_step: int = key(32, at_least=1, used_by=GROWING, since="0.2", unit="pixels")  # sizes between are multiples
    # Whole batches resized on the device, from this share of the crop's sides to all of it; null: off
    resize_from: float | None = key(None, above=0, below=1, since="0.2")
    resize_delay: float = key(0.5, at_least=0, below=1, used_by=RESIZED, since="0.2")  # share of the run before it
    resize_finetune: float = key(0.2, at_least=0, below=1, used_by=RESIZED, since="0.2")  # and after it, at full size
    resize_step: int = key(4, at_least=1, used_by=RESIZED, since="0.2", unit="pixels")  # sizes are multiples
    val_resize: int = key(256, at_least=8, affects="result", unit="pixels")  # shorter side
    val_crop: int = key(224, at_least=8, affects="result", unit="pixels")  # square
    interpolation: str = key("bilinear", choices=("bilinear", "bicubic", "nearest"))


@dataclass
class AugmentConfig:
    # random_resized: a box of random area and shape, resized to a square of train_resize; its centre is trained on.
    # resize_random: the shorter side to train_resize, then a random square.
    crop: str = key("random_resized", choices=("random_resized", "resize_random"))
    # imagenet: AutoAugment's ImageNet policy; timm: timm's RandAugment, as timm_policy says
    policy: str = key(choices=("none", "ta_wide", "ra", "imagenet", "timm"))
    timm_policy: str = key("rand-m9-mstd0.5-inc1", used_by={"policy": ("timm",)}, since="0.2")
    # Who makes its pixels: the same ones. device: where workers cannot keep up; it cost an H100 a third of its speed.
    policy_on: str = key("host", choices=("host", "device"), affects="nothing")
    scale: list[float] = key([0.08, 1.0], above=0, at_most=1, used_by=BOX)  # area of the box, share of the image
    ratio: list[float] = key([0.75, 4 / 3], above=0, used_by=BOX)  # width / height of the box
    hflip: float = key(0.5, at_least=0, at_most=1)  # probability
    rotation: float = key(0.0, at_least=0, at_most=180, unit="degrees")  # at most, to either side; 0: off
    sharpness: float | None = key(None, at_least=0)  # of half the images: 0 blurs, 1 does nothing; null: off
    random_erase: float = key(0.0, at_least=0, at_most=1)  # probability


@dataclass
class MixConfig:
    mixup_alpha: float = key(0.0, at_least=0)  # λ ~ Beta(alpha, alpha); 0: off
    cutmix_alpha: float = key(0.0, at_least=0)  # with both on, each micro-batch draws one of the two


@dataclass
class SamplerConfig:
    repetitions: int = key(1, at_least=1)  # differently augmented copies of an image in one step
    # shuffled: each image once an epoch; balanced: with replacement, every class as often as any other.
    draw: str = key("shuffled", choices=("shuffled", "balanced"), since="0.2")


@dataclass
class LossConfig:
    name: str = key(choices=("cross_entropy", "bce", "poly", "nll"))  # nll: of a network that ends in log-softmax
    label_smoothing: float = key(0.0, at_least=0, below=1)
    poly_epsilon: float = key(1.0, used_by={"name": ("poly",)})  # cross entropy + poly_epsilon·(1 − p_target)
    sum_classes: bool = key(False, used_by=BCE, since="0.2")  # summed over classes, a mean over images alone
    # Smoothed and mixed targets become 1 above it and 0 elsewhere; null: they stay as they are.
    target_threshold: float | None = key(None, at_least=0, below=1, used_by=BCE, since="0.2")
    # By the training images of each class, n: balanced: N/(C·n); effective: (1 − β)/(1 − β^n), C in sum; null: all 1.
    class_weights: str | None = key(None, choices=("balanced", "effective"), used_by=WEIGHTED, since="0.2")
    class_beta: float = key(0.999, at_least=0, below=1, used_by={"class_weights": ("effective",)}, since="0.2")


@dataclass
class OptimizerConfig:
    name: str = key()  # torch: sgd, rmsprop, adam, adamw or lamb; timm: a name of its factory, as adan or lion
    source: str = key("torch", choices=("torch", "timm"), since="0.2")
    args: dict[str, Any] = key({}, used_by={"source": ("timm",)}, since="0.2")  # further ones of timm's optimizer
    lr: float = key(0.1, above=0, unit="learning rate")  # the peak, for the whole batch_size
    momentum: float = key(0.9, at_least=0, below=1, used_by=MOMENTUM)
    nesterov: bool = key(False, used_by={**TORCH, "name": ("sgd",)})
    betas: list[float] = key([0.9, 0.999], at_least=0, below=1, used_by=ADAM)
    eps: float = key(1e-8, above=0, used_by=WITH_EPS)
    weight_decay: float = key(1e-4, at_least=0)
    norm_weight_decay: float | None = key(None, at_least=0)  # of normalisation layers; null: weight_decay
    # Which parameters are normalisation layers': by the layers' type, or those with bn in their name, as ffcv and
    # NVIDIA have it: a ResNet's downsample.1 is then none.
    norms_by: str = key("type", choices=("type", "name"), since="0.2")
    bias_weight_decay: float | None = key(None, at_least=0)  # of other layers' biases; null: weight_decay
    grad_clip: float | None = key(None, above=0)  # largest gradient norm; null: off
    backbone_lr_factor: float = key(1.0, above=0)  # learning rate of all but the head, as a share of lr
    layer_decay: float = key(1.0, above=0, at_most=1)  # factor on lr for each stage, counted down from the head


@dataclass
class ScheduleConfig:
    name: str = key(
        choices=(
            *("step", "cosine", "exponential", "onecycle", "plateau", "constant", "linear", "polynomial"),
            "timm_cosine",  # of the whole run's time, warm-up and all
        )
    )
    step_size: float = key(30.0, above=0, used_by={"name": ("step",)}, unit="epochs")  # between two decays
    gamma: float = key(0.1, above=0, at_most=1, used_by=BY_GAMMA)  # factor per decay; exponential: per epoch
    # At the end; of exponential and plateau: the lowest.
    min_lr: float = key(0.0, at_least=0, used_by=TO_MINIMUM, unit="learning rate")
    cooldown_epochs: float = key(0.0, at_least=0, used_by=TIMM_COSINE, since="0.2", unit="epochs")  # last, at min_lr
    power: float = key(2.0, above=0, used_by={"name": ("polynomial",)}, since="0.2")  # of the share that is left
    patience: int = key(10, at_least=0, used_by=PLATEAU, unit="evaluations")  # without a lower loss put up with
    threshold: float = key(1e-4, at_least=0, below=1, used_by=PLATEAU)  # share by which it must be lower
    pct_start: float = key(0.3, above=0, below=1, used_by=ONECYCLE)  # share of the run in which lr rises
    div_factor: float = key(25.0, at_least=1, used_by=ONECYCLE)  # lr / first learning rate
    final_div_factor: float = key(1e4, at_least=1, used_by=ONECYCLE)  # first / last learning rate
    cycle_momentum: bool = key(True, used_by=ONECYCLE)  # momentum (or first beta) from max to base and back
    base_momentum: float = key(0.85, at_least=0, below=1, used_by=CYCLED)
    max_momentum: float = key(0.95, at_least=0, below=1, used_by=CYCLED)
    warmup_epochs: float = key(0.0, at_least=0, unit="epochs")
    # next: linear, one change of the rate ahead of where the run stands, from lr/warmup_epochs to lr
    warmup_method: str = key("linear", choices=("linear", "constant", "next"), used_by=WARMUP)
    warmup_decay: float = key(0.01, at_least=0, at_most=1, used_by=FROM_SHARE)  # first rate, as a share of lr
    interval: str = key("epoch", choices=("epoch", "step"))  # when the learning rate changes


@dataclass
class EmaConfig:
    decay: float | None = key(
        None, at_least=0, below=1, affects="result"
    )  # in ImageNet units (docs/RECIPES.md); null: off
    # Of the optimizer, between two updates, in ImageNet units: see `recipe.plan.scaling.ema_steps`.
    steps: int = key(32, at_least=1, affects="result", used_by={"decay": ()}, unit="steps")


@dataclass
class EvaluateConfig:
    every: int = key(1, at_least=1, affects="result", unit="epochs between evaluations")  # the last epoch always
    batch_size: int = key(
        256, at_least=1, affects="nothing", unit="images a forward pass and rank"
    )  # does not change the result
    flip: bool = key(False, affects="result", since="0.2")  # mean of the logits of an image and of its mirror image
    grid: list[Any] = key(
        [], affects="result"
    )  # further final evaluations: {weights: raw | ema, val_resize: …, val_crop: …, flip: …}


@dataclass
class EarlyStoppingConfig:
    patience: int | None = key(None, at_least=1, unit="evaluations")  # without a better top-1; null: never stop
    loss_below: float | None = key(None, above=0)  # not before a validation loss was below this; null: at any


@dataclass
class CheckpointConfig:
    # Between two saves within an epoch. Epochs end with one, unless saving would take over 1% of the time.
    every_minutes: float = key(10.0, above=0, affects="nothing", unit="minutes")
    keep: int = key(2, at_least=1, affects="nothing", unit="checkpoints")  # the newest, while training
    keep_after_training: bool = key(False, affects="nothing")  # and once it has finished; false: only the weights are
    best_by: str = key("accuracy", choices=("accuracy", "loss"), affects="result")  # which epoch is kept as best.pt


@dataclass
class LogConfig:
    every_steps: int = key(50, at_least=1, affects="nothing", unit="steps")  # between two training log entries
    images: bool = key(True, affects="nothing")  # pictures for TensorBoard: first images, best and worst predictions


@dataclass
class RuntimeConfig:
    device: str = key("auto", choices=("auto", "cuda", "mps", "cpu"), affects="nothing")
    precision: str = key("fp32", choices=("fp32", "bf16", "fp16", "fp64"))  # fp64: to compare device counts
    compile: bool = key(False)  # network and loss as one compiled function
    # What more compiling may do: reduce-overhead replays CUDA graphs, max-autotune also tries kernels by the clock.
    # auto: what is fastest on the machine at hand, eager where that is (recipe/machine/compile_mode.py).
    compile_mode: str = key(
        "default",
        choices=("default", "reduce-overhead", "max-autotune", "auto"),
        used_by={"compile": ()},
        counts_as={"auto": "default"},
    )
    channels_last: bool = key(True)
    deterministic: bool = key(False)  # refuse operations that are not deterministic on a GPU
    # fp32's products on a GPU with 10 of 23 bits; null: as PyTorch has it, in convolutions only
    tf32: bool | None = key(None, since="0.2")
    # After which another machine of the run that gives no sign of life is taken for lost.
    network_timeout: int = key(120, at_least=6, affects="nothing", unit="seconds", since="0.2")


@dataclass
class ScaleConfig:
    name: str = key(affects="nothing")
    epochs: float = key(1.0, above=0, affects="nothing")  # factors on the recipe's values, which are in ImageNet units
    resolution: float = key(1.0, above=0, affects="nothing")
    batch_size: float = key(1.0, above=0, affects="nothing")
    micro_batch_size: float = key(1.0, above=0, affects="nothing")
    evaluate_every: float = key(1.0, above=0, affects="nothing")
    model: str | None = key(None, affects="nothing")  # in place of resnet50, where the recipe kept it


@dataclass
class Config:
    epochs: int = key(90, at_least=1, unit="epochs")
    batch_size: int = key(256, at_least=2, unit="images a step")  # of the optimizer, over all ranks
    # Images of a forward pass: what batch norm, mixup and cutmix see.
    micro_batch_size: int = key(32, at_least=2, unit="images a micro-batch")
    seed: int = key(0, at_least=0)
    max_steps: int | None = key(None, at_least=1, unit="steps")  # stop early: to check data, memory and speed
    resume: str = key("auto", choices=("auto", "never"), affects="nothing")
    model: ModelConfig = section(ModelConfig)
    data: DataConfig = section(DataConfig)
    resolution: ResolutionConfig = section(ResolutionConfig)
    augment: AugmentConfig = section(AugmentConfig)
    mix: MixConfig = section(MixConfig)
    sampler: SamplerConfig = section(SamplerConfig)
    loss: LossConfig = section(LossConfig)
    optimizer: OptimizerConfig = section(OptimizerConfig)
    schedule: ScheduleConfig = section(ScheduleConfig)
    ema: EmaConfig = section(EmaConfig)
    evaluate: EvaluateConfig = section(EvaluateConfig)
    early_stopping: EarlyStoppingConfig = section(EarlyStoppingConfig)
    checkpoint: CheckpointConfig = section(CheckpointConfig)
    log: LogConfig = section(LogConfig)
    runtime: RuntimeConfig = section(RuntimeConfig)
    scale: ScaleConfig = section(ScaleConfig)
    rung: dict[str, Any] | None = key(None, affects="nothing")  # about the recipe file it stands in: index, published
