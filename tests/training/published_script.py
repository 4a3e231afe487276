"""The published training script as one process runs it, accumulating the gradients of a step's micro-batches.

torch, torchvision and timm alone: the oracle of test_whole_training.py. It is given the initial weights, the order of
the images and the draws; the rest, from the file's bytes to the last learning rate, it computes by itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.loss import BinaryCrossEntropy
from timm.optim.lamb import Lamb
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import pil_loader
from torchvision.ops._utils import split_normalization_params
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op
from torchvision.transforms.v2 import functional as F

EPOCHS, BATCH, MICRO_BATCHES, CLASSES = 4, 32, 4, 14
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
Curves = list[dict[str, float]]  # as metrics.jsonl has them: a row for each step and each evaluation


@dataclass(frozen=True)
class Flags:
    """As on the published script's command line, for a fifth of its resolution and four epochs."""

    opt: str = "sgd"
    lr: float = 0.1
    weight_decay: float = 1e-4
    norm_weight_decay: float | None = None
    clip_grad_norm: float | None = None
    lr_scheduler: str = "steplr"
    lr_warmup_epochs: int = 0
    loss: str = "cross_entropy"
    label_smoothing: float = 0.0
    auto_augment: bool = False
    random_erase: bool = False
    mixup_or_cutmix: bool = False
    train_crop_size: int = 44
    val_resize_size: int = 52
    val_crop_size: int = 44
    interpolation: str = "bilinear"
    ra_reps: int = 1
    model_ema: bool = False
    model_ema_steps: int = 2
    model_ema_decay: float = 0.999999
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Given:
    """What is random in a training."""

    permutation: Callable[[int], list[int]]  # of the training images, in an epoch
    image: Callable[[int, int, Tensor], Any]  # crop, flip, operations, erase: of the image at a position of an epoch
    mix: Callable[[int, int, int, Tensor], Any]  # lam, box: of the micro-batch of a step of an epoch


def published_script(flags: Flags, model: nn.Module, photos: Path, given: Given) -> tuple[Curves, nn.Module]:
    train, val = (ImageFolder(photos / split).samples for split in ("train", "val"))
    optimizer = make_optimizer(flags, model)
    steps = -(-len(train) // BATCH)
    by_step, scheduler = make_scheduler(flags, optimizer, steps)
    alpha = (1 - flags.model_ema_decay) * BATCH * flags.model_ema_steps / EPOCHS * 1_281_167 / len(train)
    model_ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(1 - alpha), use_buffers=True)
    curves: Curves = []
    for epoch in range(EPOCHS):
        indices = [index for index in given.permutation(epoch) for _ in range(flags.ra_reps)][: len(train)]
        if flags.ra_reps > 1:
            indices = indices[: len(train) // MICRO_BATCHES * MICRO_BATCHES]
        model.train()
        for step in range(steps):
            optimizer.zero_grad()
            lr = optimizer.param_groups[0]["lr"]
            train_loss, hits = torch.zeros(()), 0
            positions = range(len(indices))[step * BATCH : (step + 1) * BATCH]
            for rank in range(MICRO_BATCHES):
                mine = positions[rank::MICRO_BATCHES]
                image = torch.stack([train_image(flags, train[indices[p]][0], given, epoch, p) for p in mine])
                image = image.contiguous(memory_format=torch.channels_last)
                target = torch.tensor([train[indices[p]][1] for p in mine])
                if flags.mixup_or_cutmix:
                    image, target = mixed(image, target, given.mix(epoch, step, rank, image))
                buffers = [buffer.clone() for buffer in model.buffers()]
                output = model(image)
                loss = criterion(flags, output, target)
                larger = target.argmax(1) if target.ndim == 2 else target
                hits += int((output.argmax(1) == larger).sum())
                (loss * (len(mine) / len(positions))).backward()
                train_loss += loss.detach() * (len(mine) / len(positions))
                if rank > 0:  # the statistics of rank 0 are those that DistributedDataParallel keeps
                    torch._foreach_copy_(list(model.buffers()), buffers)
            limit = math.inf if flags.clip_grad_norm is None else flags.clip_grad_norm
            norm = nn.utils.clip_grad_norm_(model.parameters(), limit)
            optimizer.step()
            if step % flags.model_ema_steps == 0:
                model_ema.update_parameters(model)
                if epoch < flags.lr_warmup_epochs:
                    model_ema.n_averaged.fill_(0)
            if by_step:
                scheduler.step()
            done = {"step": epoch * steps + step + 1, "epoch": epoch}
            here = {"train/loss": train_loss.item(), "train/acc1": 100 * hits / len(positions)}
            curves.append({**done, **here, "train/lr": lr, "train/grad_norm": norm.item()})
        found = {"val": evaluate(flags, model, val)}
        if flags.model_ema:
            found["ema"] = evaluate(flags, model_ema, val)
        if flags.lr_scheduler == "plateau":
            scheduler.step(found["val"]["loss"])
        elif not by_step:
            scheduler.step()
        curves.append({**done, **{f"{name}/{key}": found[name][key] for name in found for key in found[name]}})
    return curves, model_ema.module


def make_optimizer(flags: Flags, model: nn.Module) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    if flags.norm_weight_decay is not None:
        norms, others = split_normalization_params(model)
        groups = [{"params": norms, "weight_decay": flags.norm_weight_decay}, {"params": others}]
    how: dict[str, Any] = {"lr": flags.lr, "weight_decay": flags.weight_decay}
    match flags.opt:
        case "sgd":
            return torch.optim.SGD(groups, momentum=0.9, **how)
        case "sgd_nesterov":
            return torch.optim.SGD(groups, momentum=0.9, nesterov=True, **how)
        case "rmsprop":
            return torch.optim.RMSprop(groups, momentum=0.9, eps=0.0316, alpha=0.9, **how)
        case "adam":
            return torch.optim.Adam(groups, **how)
        case "adamw":
            return torch.optim.AdamW(groups, **how)
    return Lamb(groups, max_grad_norm=None, **how)


def make_scheduler(flags: Flags, optimizer: torch.optim.Optimizer, steps: int) -> tuple[bool, Any]:
    """The scheduler, and whether it is stepped after each step instead of each epoch."""
    match flags.lr_scheduler:
        case "onecycle":
            return True, OneCycleLR(optimizer, flags.lr, total_steps=EPOCHS * steps)
        case "plateau":
            return False, ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
        case "exponentiallr":
            return False, ExponentialLR(optimizer, gamma=0.95)
        case "constant":
            return False, ConstantLR(optimizer, factor=1.0)
        case "steplr":
            return False, StepLR(optimizer, step_size=2, gamma=0.1)
    main = CosineAnnealingLR(optimizer, T_max=EPOCHS - flags.lr_warmup_epochs)
    if not flags.lr_warmup_epochs:
        return False, main
    warmup = LinearLR(optimizer, start_factor=0.01, total_iters=flags.lr_warmup_epochs)
    return False, SequentialLR(optimizer, [warmup, main], milestones=[flags.lr_warmup_epochs])


def criterion(flags: Flags, output: Tensor, target: Tensor) -> Tensor:
    if flags.loss == "bce":
        return BinaryCrossEntropy(smoothing=0.0)(output, target)
    loss = nn.CrossEntropyLoss(label_smoothing=flags.label_smoothing)(output, target)
    if flags.loss == "poly":
        loss = loss + (1 - output.softmax(1)[range(len(target)), target]).mean()
    return loss


def train_image(flags: Flags, path: str, given: Given, epoch: int, position: int) -> Tensor:
    image = F.pil_to_tensor(pil_loader(path))
    draw, mode = given.image(epoch, position, image), InterpolationMode(flags.interpolation)
    image = F.resized_crop(image, *draw.crop, [flags.train_crop_size] * 2, resize_mode(flags), antialias=True)
    if draw.flip:
        image = F.horizontal_flip(image)
    if flags.auto_augment:
        picture = F.to_pil_image(image)
        for name, magnitude in draw.operations:
            picture = _apply_op(picture, name, magnitude, mode, fill=None)
        image = F.pil_to_tensor(picture)
    image = F.normalize(image.to(flags.dtype) / 255, MEAN, STD)
    if flags.random_erase:
        image = F.erase(image, *draw.erase, v=torch.zeros(1, dtype=flags.dtype))
    return image


def mixed(image: Tensor, label: Tensor, draw: Any) -> tuple[Tensor, Tensor]:
    """RandomMixup and RandomCutmix: the partner is the batch rolled by one."""
    lam = draw.lam
    if draw.box is None:
        image = image * lam + image.roll(1, 0) * (1 - lam)
    else:
        y1, y2, x1, x2 = draw.box
        pasted = image.clone()
        pasted[:, :, y1:y2, x1:x2] = image.roll(1, 0)[:, :, y1:y2, x1:x2]
        image, lam = pasted, 1 - (x2 - x1) * (y2 - y1) / image[0, 0].numel()
    target = one_hot(label, CLASSES).to(image.dtype)
    return image, target * lam + target.roll(1, 0) * (1 - lam)


@torch.inference_mode()
def evaluate(flags: Flags, model: nn.Module, samples: Sequence[tuple[str, int]]) -> dict[str, float]:
    model.eval()
    top1 = top5 = 0
    recognised: dict[int, list[bool]] = {}
    loss = torch.zeros((), dtype=torch.float64)
    for first in range(0, len(samples), BATCH):
        batch = samples[first : first + BATCH]
        image = torch.stack([val_image(flags, path) for path, _ in batch])
        target = torch.tensor([label for _, label in batch])
        output = model(image.contiguous(memory_format=torch.channels_last))
        hits = output.topk(5).indices == target[:, None]
        top1, top5 = top1 + int(hits[:, 0].sum()), top5 + int(hits.sum())
        for label, hit in zip(target.tolist(), hits[:, 0].tolist(), strict=True):
            recognised.setdefault(label, []).append(hit)
        loss += nn.CrossEntropyLoss(reduction="none")(output, target).sum(dtype=torch.float64)
    recall = torch.tensor([sum(hits) / len(hits) for _, hits in sorted(recognised.items())], dtype=torch.float64)
    return {
        "acc1": 100 * top1 / len(samples),
        "acc5": 100 * top5 / len(samples),
        "balanced_acc1": 100 * recall.mean().item(),
        "loss": loss.item() / len(samples),
    }


def val_image(flags: Flags, path: str) -> Tensor:
    image = F.pil_to_tensor(pil_loader(path))
    image = F.resize(image, [flags.val_resize_size], resize_mode(flags), antialias=True)
    image = F.center_crop(image, [flags.val_crop_size] * 2)
    return F.normalize(image.to(flags.dtype) / 255, MEAN, STD)


def resize_mode(flags: Flags) -> InterpolationMode:
    """Pillow's, on tensors: its nearest is torch's nearest-exact."""
    return InterpolationMode(flags.interpolation.replace("nearest", "nearest-exact"))
