"""What a word that is not known was meant to be: a wrong guess is worse than none."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

ALIKE = 0.65  # of 1: how much of two words must be the same, in the same order
ALIKE_FROM_ANOTHER_LETTER = 0.8  # where they begin with other letters: gpu is no slip of cpu
SYNONYMS = {  # as people type it, from other trainers → as it is called here
    "lr": "optimizer.lr",
    "learning_rate": "optimizer.lr",
    "base_lr": "optimizer.lr",
    "wd": "optimizer.weight_decay",
    "decay": "optimizer.weight_decay",
    "opt": "optimizer",
    "optim": "optimizer",
    "clip_grad": "optimizer.grad_clip",
    "clip_grad_norm": "optimizer.grad_clip",
    "gradient_clip_val": "optimizer.grad_clip",
    "max_grad_norm": "optimizer.grad_clip",
    "scheduler": "schedule",
    "lr_scheduler": "schedule",
    "sched": "schedule",
    "warmup": "schedule.warmup_epochs",
    "lr_warmup_epochs": "schedule.warmup_epochs",
    "batch": "batch_size",
    "bs": "batch_size",
    "accumulate_grad_batches": "micro_batch_size",
    "gradient_accumulation": "micro_batch_size",
    "gradient_accumulation_steps": "micro_batch_size",
    "grad_accum_steps": "micro_batch_size",
    "accum_iter": "micro_batch_size",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "max_epochs": "epochs",
    "steps": "max_steps",
    "iterations": "max_steps",
    "num_workers": "data.workers",
    "n_workers": "data.workers",
    "dataset": "data",
    "data_dir": "data.root",
    "data_path": "data.root",
    "dataset_path": "data.root",
    "path": "data.root",
    "nb_classes": "data.num_classes",
    "n_classes": "data.num_classes",
    "classes": "data.num_classes",
    "img_size": "resolution.train_crop",
    "image_size": "resolution.train_crop",
    "imgsz": "resolution.train_crop",
    "crop_size": "resolution.train_crop",
    "arch": "model.name",
    "architecture": "model.name",
    "backbone": "model.name",
    "network": "model.name",
    "pretrained": "model.weights",
    "checkpoint_path": "model.weights",
    "ckpt": "model.weights",
    "dropout": "model.head_dropout",
    "smoothing": "loss.label_smoothing",
    "criterion": "loss",
    "mixup": "mix.mixup_alpha",
    "cutmix": "mix.cutmix_alpha",
    "random_erasing": "augment.random_erase",
    "reprob": "augment.random_erase",
    "autoaugment": "augment.policy",
    "auto_augment": "augment.policy",
    "flip": "augment.hflip",
    "amp": "runtime.precision",
    "use_amp": "runtime.precision",
    "mixed_precision": "runtime.precision",
    "dtype": "runtime.precision",
    "fp16": "runtime.precision",
    "bf16": "runtime.precision",
    "gpu": "runtime.device",
    "cuda": "runtime.device",
    "accelerator": "runtime.device",
    "ema_decay": "ema.decay",
    "model_ema": "ema",
    "random_seed": "seed",
    "manual_seed": "seed",
    "val_split": "data.val_fraction",
    "output_dir": "hydra.run.dir",
    "out_dir": "hydra.run.dir",
    "save_dir": "hydra.run.dir",
}
VALUES = {  # of keys, as people type them
    "gpu": ("cuda",),
    "amp": ("bf16", "fp16"),
    "mixed": ("bf16", "fp16"),
    "half": ("fp16",),
    "float16": ("fp16",),
    "bfloat16": ("bf16",),
    "float": ("fp32",),
    "float32": ("fp32",),
    "16": ("bf16", "fp16"),
    "32": ("fp32",),
    "float64": ("fp64",),
    "double": ("fp64",),
    "ce": ("cross_entropy",),
    "validation": ("val",),
    "none": ("null",),
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence with what was likely meant, or nothing."""
    found = nearest(word, list(known))
    return f" Did you mean {' or '.join(found)}?" if found else ""


def nearest(word: str, known: list[str]) -> list[str]:
    """Up to three known names: the synonym, those that end or begin with the word, or the one that is nearly it."""
    typed = _plain(word)
    section, _, last = typed.rpartition(".")
    for meant in (VALUES.get(last, ()), (SYNONYMS.get(typed) or SYNONYMS.get(last, ""),)):
        if found := [name for name in meant if name in known]:
            return found
    inside = [name for name in known if section and name.startswith(f"{section}.")]
    plain = {name: _plain(name) for name in inside or known}
    for fits in (
        lambda name: last in (plain[name], _last(plain[name])) or typed == plain[name].replace(".", "_"),
        lambda name: len(last) > 1 and re.match(rf"{re.escape(typed)}[_.-]", plain[name]),
        lambda name: len(last) > 2 and re.search(rf"_{re.escape(last)}$|^{re.escape(last)}[^.]*$", _last(plain[name])),
    ):
        if found := [name for name in plain if fits(name)]:
            found = [name for name in found if "." not in name] or found
            return found if len(found) <= 3 else []
    if found := [name for name in plain if len(name) > 3 and typed.startswith(plain[name])]:
        return [max(found, key=len)]
    whole = {name: 0.0 if inside else _alike(typed, plain[name]) for name in plain}
    scores = {name: max(whole[name], _alike(last, _last(plain[name]))) for name in plain}
    best = max(scores, key=lambda name: (scores[name], whole[name], name), default="")
    if best and scores[best] >= (ALIKE if _last(plain[best])[0] == last[:1] else ALIKE_FROM_ANOTHER_LETTER):
        return [best]
    versions = [name for name in plain if _version(typed) and _version(plain[name]) == _version(typed)]
    return versions if len(versions) <= 3 else []


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _version(name: str) -> str:
    """The letter before a number: v3 and v2 are of one kind."""
    match = re.fullmatch(r"([a-z])\d+", name)
    return match[1] if match else ""


def _plain(word: str) -> str:
    """In small letters, with underscores, and numbers without leading zeros: r2 is r02."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", word.strip().lower().replace("-", "_"))


def _alike(one: str, other: str) -> float:
    """Of 1: what two words share. Two letters that have changed places are one slip."""
    share = SequenceMatcher(None, one, other).ratio()
    return max(share, 0.8) if sorted(one) == sorted(other) else share
