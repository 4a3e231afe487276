"""What is proposed for a word that is not known: what was meant, or nothing."""

import pytest

from recipe.config import Config
from recipe.guesses import SYNONYMS, VALUES, did_you_mean, nearest
from recipe.plan.choices import known_keys
from recipe.plan.rungs import CONF
from recipe.schema import leaves

RECIPES = sorted(file.stem for file in (CONF / "recipe").glob("*.yaml"))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr", ["optimizer.lr"]),
        ("learning_rate", ["optimizer.lr"]),
        ("learning-rate", ["optimizer.lr"]),
        ("optimizer.learning_rate", ["optimizer.lr"]),
        ("train.lr", ["optimizer.lr"]),
        ("wd", ["optimizer.weight_decay"]),
        ("amp", ["runtime.precision"]),
        ("gpu", ["runtime.device"]),
        ("batch", ["batch_size"]),
        ("batchsize", ["batch_size"]),
        ("num_workers", ["data.workers"]),
        ("workers", ["data.workers"]),
        ("momentum", ["optimizer.momentum"]),
        ("compile", ["runtime.compile"]),
        ("patience", ["early_stopping.patience", "schedule.patience"]),
        ("resolution.crop", ["resolution.first_crop", "resolution.train_crop", "resolution.val_crop"]),
        ("log.every", ["log.every_steps"]),
        ("label_smooth", ["loss.label_smoothing"]),
        ("model_name", ["model.name"]),
        ("augmentation", ["augment"]),
        ("optimiser", ["optimizer"]),
        ("data.rot", ["data.root"]),
        ("model.wieghts", ["model.weights"]),
        ("epoch", ["epochs"]),
        ("output_dir", ["hydra.run.dir"]),
        ("data.y", []),
        ("name", []),  # of many things
        ("wandb", []),
        ("foo", []),
        ("typo", []),
        ("tag", []),
    ],
)
def test_keys(typed: str, meant: list[str]) -> None:
    assert nearest(typed, known_keys()) == meant


@pytest.mark.parametrize(
    ("typed", "known", "meant"),
    [
        ("gpu", ["auto", "cuda", "mps", "cpu"], ["cuda"]),
        ("amp", ["fp32", "bf16", "fp16", "fp64"], ["bf16", "fp16"]),
        ("float16", ["fp32", "bf16", "fp16"], ["fp16"]),
        ("AdamW", ["adam", "adamw", "sgd"], ["adamw"]),
        ("adamm", ["adam", "adamw", "sgd"], ["adam"]),
        ("plato", ["step", "cosine", "plateau"], ["plateau"]),
        ("tset", ["val", "test", "train"], ["test"]),
        ("layer5", ["stem", "layer1", "layer4"], ["layer4"]),
        ("resnet5", ["resnet18", "resnet50", "resnet101"], ["resnet50"]),
        ("ignore", ["fail", "skip"], []),
        ("r2", RECIPES, ["r02_trivial_augment"]),
        ("r02", RECIPES, ["r02_trivial_augment"]),
        ("r1", RECIPES, ["r01_lr_optimizations"]),
        ("baseline", RECIPES, ["r00_baseline"]),
        ("r07_cutmx", RECIPES, ["r07_cutmix"]),
        ("r13", RECIPES, []),
        ("v3", RECIPES, ["v1", "v2"]),
    ],
)
def test_values(typed: str, known: list[str], meant: list[str]) -> None:
    assert nearest(typed, known) == meant


def test_synonyms_lead_to_what_there_is() -> None:
    assert set(SYNONYMS.values()) <= set(known_keys())
    assert not set(SYNONYMS) & set(known_keys())
    choices = {choice for _, _, about in leaves(Config()) for choice in about.get("choices", ())}
    assert {value for values in VALUES.values() for value in values} <= choices | {"val", "null"}


def test_a_sentence_or_nothing() -> None:
    assert did_you_mean("lrr", ["lr", "momentum"]) == " Did you mean lr?"
    assert did_you_mean("crop", ["train_crop", "val_crop"]) == " Did you mean train_crop or val_crop?"
    assert did_you_mean("xyz", ["lr", "momentum"]) == ""
    assert did_you_mean("", ["lr"]) == did_you_mean("lr", []) == ""
