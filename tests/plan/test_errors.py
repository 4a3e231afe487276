"""Wrong commands: one message that says what, where, and what would be right."""

from collections.abc import Callable

import pytest

from recipe.plan.compose import Plan
from recipe.plan.hydra_errors import explain

Composer = Callable[..., Plan]

V2, DEMO = "+recipe=v2", "scale=demo"

WRONG: list[tuple[list[str], list[str]]] = [
    # Names
    ([V2, "optimizer.lrr=1"], ["optimizer.lrr", "Did you mean optimizer.lr?"]),
    ([V2, "epoch=5"], ["epoch", "Did you mean epochs?"]),
    ([V2, "+typo=1"], ["there is no key typo"]),
    ([V2, "+optimizer.nesterof=true"], ["optimizer.nesterof", "Did you mean optimizer.nesterov?"]),
    ([V2, "lr=0.1"], ["no key lr", "Did you mean optimizer.lr?"]),
    ([V2, "gpus=2"], ["no key gpus", "torchrun --nproc_per_node=N"]),
    ([V2, "num_gpus=2"], ["no key num_gpus", "torchrun --nproc_per_node=N"]),
    ([V2, "accum_iter=4"], ["no key accum_iter", "Did you mean micro_batch_size?"]),
    ([V2, "+learning_rate=0.1"], ["no key learning_rate", "Did you mean optimizer.lr?"]),
    ([V2, "runtime.device=gpu"], ["runtime.device=gpu", "Did you mean cuda?"]),
    ([V2, "model=resnet34"], ["no such option", "torchvision has it: model.name=resnet34"]),
    ([V2, "model.name=convnextv2_tiny"], ["timm has: add model.source=timm"]),
    (["+recipe=r2"], ["recipe=r2", "Did you mean r02_trivial_augment?"]),
    ([V2, "data.root="], ["data.root= has no value", "shell variable"]),
    ([V2, 'data.val_dir=""'], ["data.val_dir= has no value"]),
    ([V2, 'model.name=""'], ["model.name is empty"]),
    (["+recpie=v2"], ["recpie", "Did you mean recipe?"]),
    (["+recipe=v3"], ["recipe=v3", "r00_baseline", "Did you mean v"]),
    (["recipe=v2"], ["+recipe=NAME"]),
    ([], ["which recipe?", "+recipe=NAME", "v2"]),
    (["+recipe=[v1,v2]"], ["one recipe", "-m"]),
    (["+recipe=v1", "+recipe=v2"], ["recipe"]),
    ([V2, "optimizer=adamm"], ["optimizer=adamm", "adam, adamw", "Did you mean adam"]),
    ([V2, "optimzer=adamw"], ["optimzer", "Did you mean optimizer?"]),
    ([V2, "loss.name=crossentropy"], ["loss.name=crossentropy", "Did you mean cross_entropy?"]),
    ([V2, "model.name=resnet5"], ["model.name=resnet5", "Did you mean resnet50?"]),
    ([V2, "optimizer=null"], ["the name of an option"]),
    ([V2, "without=mixup"], ["+without=NAME"]),
    ([V2, "+without=[mixup,cutmi]"], ["there is no without/cutmi", "Did you mean cutmix?"]),
    ([V2, "model.source=tim"], ["model.source=tim", "Did you mean timm?"]),
    # Values
    ([V2, "optimizer.lr=abc"], ["optimizer.lr=abc", "a number"]),
    ([V2, "epochs=1.5"], ["epochs=1.5", "a whole number"]),
    ([V2, "runtime.compile=maybe"], ["runtime.compile=maybe", "true or false"]),
    ([V2, "seed=null"], ["seed=null", "null is not allowed"]),
    ([V2, "seed=-1"], ["seed=-1", "at least 0"]),
    ([V2, "optimizer.lr=0"], ["optimizer.lr=0", "above 0"]),
    ([V2, "optimizer.lr=nan"], ["optimizer.lr", "a finite number"]),
    ([V2, "mix.mixup_alpha=-0.1"], ["mix.mixup_alpha=-0.1", "at least 0"]),
    ([V2, "loss.label_smoothing=1"], ["loss.label_smoothing=1", "below 1"]),
    ([V2, "augment.hflip=1.1"], ["augment.hflip=1.1", "at most 1"]),
    ([V2, "augment.scale=[0.1,0.2,0.3]"], ["augment.scale", "2 numbers"]),
    ([V2, "augment.scale=[0.9,0.1]"], ["augment.scale", "smaller number comes first"]),
    ([V2, "data.std=[0,1,1]"], ["data.std=0", "above 0"]),
    ([V2, "optimizer.lr=inf"], ["optimizer.lr=inf", "finite"]),
    ([V2, "~optimizer.momentum"], ["~optimizer.momentum"]),
    ([V2, "batch_size=1"], ["batch_size=1", "at least 2"]),
    ([V2, "data=imagefolder", "data.root=~/photos=1"], ["/photos=1: there is no such folder"]),
    ([V2, "data=~/photos"], ["/photos: there is no such option", "data=imagefolder data.root="]),
    ([V2, "optimizer.lr=0.1~"], ["cannot read the command line"]),
    ([V2, "optimizer.lr"], ["cannot read the command line", "optimizer.lr"]),
    ([V2, "optimizer.betas=[0.9"], ["cannot read the command line: optimizer.betas=[0.9", "quotes"]),
    ([V2, "epochs", "3"], ["epochs is not of the form KEY=VALUE"]),
    # Several values for one run
    ([V2, "seed=0,1"], ["seed=0,1 names several values", "add -m right after train.py"]),
    ([V2, "seeds=0,1"], ["there is no key seeds. Did you mean seed?"]),
    ([V2, "learning_rate=0.1,0.2"], ["there is no key learning_rate. Did you mean optimizer.lr?"]),
    ([V2, "ema=ema,none"], ["ema=ema,none names several values", "add -m right after train.py"]),
    ([V2, "seed=range(0,3)"], ["seed=range(0,3) names several values", "add -m"]),
    (["+recipe=v1,v2"], ["+recipe=v1,v2 names several values", "add -m"]),
    ([V2, "augment.scale=0.1,0.9"], ["augment.scale=[0.1,0.9]", "in brackets"]),
    ([V2, "data.root=/a,/b"], ["data.root=/a,/b", "no such path", "add -m"]),
    # Keys that do nothing
    (
        [V2, "optimizer.betas=[0.9,0.99]"],
        ["optimizer.betas does nothing", "optimizer.name=adam, ", "optimizer.name=sgd"],
    ),
    ([V2, "loss.poly_epsilon=2"], ["loss.poly_epsilon does nothing", "loss.name=poly", "loss.name=cross_entropy"]),
    ([V2, "schedule.pct_start=0.2"], ["schedule.pct_start does nothing", "schedule.name=onecycle"]),
    ([V2, "model.head_width=64"], ["model.head_width does nothing", "model.head=mlp or concat_pool"]),
    ([V2, "data.size=64"], ["data.size does nothing", "data.name=synthetic"]),
    (["+recipe=v1", "ema.steps=4"], ["ema.steps does nothing", "ema.decay", "ema.decay=null"]),
    # Combinations
    ([V2, "resolution.val_crop=300"], ["resolution.val_crop=300", "val_resize=232"]),
    ([V2, "resolution.train_resize=100"], ["resolution.train_crop=176", "train_resize=100", "at most 100"]),
    ([V2, "data=synthetic", "data.num_classes=null"], ["data=synthetic", "needs data.num_classes"]),
    ([V2, "data.folds=5"], ["needs both, data.folds=5", "data.fold=0"]),
    ([V2, "data.fold=1"], ["needs both, data.folds=5", "data.fold=0"]),
    ([V2, "data.folds=5", "data.fold=5"], ["data.fold=5", "from 0 to 4"]),
    ([V2, "data.folds=5", "data.fold=0", "data.val_dir=val"], ["data.val_dir=val", "data.folds=5", "one of the two"]),
    ([V2, "augment.rotation=200"], ["augment.rotation=200", "at most 180"]),
    ([V2, "augment.sharpness=-1"], ["augment.sharpness=-1", "at least 0"]),
    ([V2, "augment.crop=resize"], ["augment.crop=resize", "random_resized, resize_random"]),
    ([V2, "loss=nll", "loss.label_smoothing=0"], ["loss.name=nll", "model.head=mlp", "model.head=linear"]),
    ([V2, "early_stopping.patience=0"], ["early_stopping.patience=0", "at least 1"]),
    ([V2, "early_stopping.loss_below=0.5"], ["early_stopping.loss_below=0.5", "early_stopping.patience"]),
    ([V2, "checkpoint.best_by=top1"], ["checkpoint.best_by=top1", "accuracy, loss"]),
    ([V2, "schedule.warmup_epochs=600"], ["warmup_epochs=600", "less than 600 epochs"]),
    ([V2, "schedule.min_lr=1"], ["schedule.min_lr=1", "optimizer.lr=0.5"]),
    ([V2, "batch_size=1000"], ["batch_size=1000", "micro_batch_size=128", "125"]),
    ([V2, "micro_batch_size=512"], ["sampler.repetitions=4", "micro_batch_size=256"]),
    ([V2, "optimizer.nesterov=true", "optimizer.momentum=0"], ["nesterov", "momentum"]),
    ([V2, "runtime.compile_mode=reduce-overhead"], ["compile_mode=reduce-overhead", "add runtime.compile=true"]),
    (
        [V2, "runtime=fast", "runtime.compile_mode=max-autotune", "runtime.deterministic=true"],
        ["compile_mode=max-autotune", "deterministic=true", "reduce-overhead"],
    ),
    ([V2, "model.sync_batch_norm=true"], ["sync_batch_norm", "use 8 processes"]),
    ([V2, "model.sync_batch_norm=true", "micro_batch_size=1024", "runtime.device=cpu", "sampler=standard"], ["GPUs"]),
    ([V2, "runtime.device=cpu", "runtime.precision=fp16"], ["fp16", "bf16"]),
    ([V2, "evaluate.grid=[{weight: raw}]"], ["evaluate.grid", "weight"]),
    ([V2, "evaluate.grid=[{val_crop: 300}]"], ["evaluate.grid", "300"]),
    (["+recipe=v1", "evaluate.grid=[{weights: ema}]"], ["evaluate.grid", "ema=ema"]),
    ([V2, "optimizer=adamw"], ["optimizer=adamw", "optimizer.lr=0.001", "optimizer.lr=0.5"]),
    ([V2, "data=imagefolder"], ["data.root=FOLDER"]),
    ([V2, "data=imagefolder", "data.root=/nowhere/photos"], ["data.root=/nowhere/photos", "no such folder"]),
    ([V2, "data=synthetic", "data.num_classes=1"], ["data.num_classes=1", "at least 2"]),
    ([V2, "data.val_fraction=0.2"], ["data.val_fraction=0.2", "data=imagefolder"]),
    ([V2, "data=imagefolder", "data.root=/", "data.val_dir=val", "data.val_fraction=0.2"], ["without data.val_dir"]),
    ([V2, "data.on_corrupt=ignore"], ["data.on_corrupt=ignore", "fail, skip"]),
    ([V2, "schedule=onecycle", "schedule.warmup_epochs=5"], ["onecycle", "schedule.warmup_epochs=0"]),
    ([V2, "schedule=onecycle", "schedule.base_momentum=0.99"], ["base_momentum=0.99", "max_momentum=0.95"]),
    ([V2, "schedule=plato"], ["schedule=plato", "Did you mean plateau?"]),
    ([V2, "model.stem=tiny"], ["model.stem=tiny", "imagenet, small"]),
    ([V2, "scale=deom"], ["scale=deom", "Did you mean demo?"]),
    ([V2, "ema=yes"], ["ema=yes", "ema, none"]),
    ([V2, "runtime.precision=float16"], ["runtime.precision=float16", "fp16"]),
]


@pytest.mark.parametrize(("command", "fragments"), WRONG, ids=[" ".join(command) for command, _ in WRONG])
def test_wrong_command_has_one_clear_message(plan: Composer, command: list[str], fragments: list[str]) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 Hydra's, OmegaConf's or our own
        plan(*command)
    message = explain(caught.value)
    assert message is not None
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize(
    ("processes", "fragments"),
    [
        (3, ["3 processes", "8 micro-batch(es)", "1, 2, 4 or 8"]),
        (16, ["16 processes", "micro_batch_size=64", "64 instead of 128"]),
    ],
)
def test_world_size_that_does_not_divide_the_micro_batches_is_refused(
    plan: Composer, monkeypatch: pytest.MonkeyPatch, processes: int, fragments: list[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    with pytest.raises(Exception) as caught:  # noqa: PT011
        plan(V2, "sampler.repetitions=1")
    message = explain(caught.value) or ""
    for fragment in fragments:
        assert fragment in message


def test_faults_of_the_code_are_not_passed_off_as_wrong_commands() -> None:
    assert explain(TypeError("unsupported operand")) is None
    assert explain(RuntimeError("CUDA error")) is None
