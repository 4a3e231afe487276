"""Pictures of what a network sees and says, for TensorBoard: labelled grids of images."""

import math
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from recipe.config import Config
from recipe.data.dataset import Dataset
from recipe.data.micro_batch import Task, load_micro_batches
from recipe.data.order import Order
from recipe.data.transforms import apply_eval
from recipe.errors import DataError
from recipe.logs.lettering import Letters
from recipe.training.evaluate import Evaluation
from recipe.training.loop import Training, prepare

SHOWN = 16  # images in a grid
TILE = 176  # pixels, at least: small images are enlarged
LETTERS = 18  # pixels
LINES = 2  # of a caption
LINE = 22  # pixels


def grid(images: Tensor, captions: Sequence[str]) -> Tensor:
    """A grid of labelled images.

    Args:
        images: (n, 3, H, W) uint8.
        captions: n of them, broken into lines that fit.

    Returns:
        (3, height, width) uint8.
    """
    side = max(TILE, images.shape[-1])
    columns = max(1, math.ceil(math.sqrt(len(images))))
    rows = max(1, math.ceil(len(images) / columns))
    cell = side + 4, side + LINES * LINE + 8
    sheet = Image.new("RGB", (columns * cell[0], rows * cell[1]), "white")
    draw, letters = ImageDraw.Draw(sheet), Letters(LETTERS)
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = number % columns * cell[0], number // columns * cell[1]
        picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
        sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), (left, top))
        for line, text in enumerate(caption.split("\n")[:LINES]):
            letters.draw(draw, left + 2, top + side + 2 + line * LINE, letters.cut(text, side - 4), "black")
    return (
        torch.frombuffer(bytearray(sheet.tobytes()), dtype=torch.uint8)
        .view(sheet.height, sheet.width, 3)
        .permute(2, 0, 1)
    )


def first_training_images(training: Training, dataset: Dataset, order: Order) -> Tensor:
    """The first images of the first micro-batch as the network sees them: augmented, erased, mixed."""
    config = training.config
    positions = order.micro_batch_positions(0, 0)
    chosen = [positions[-1], *positions[: min(SHOWN, len(positions) - 1)]]  # each is mixed with the one before it
    indices = order.images(0)[chosen].tolist()
    (batch,) = load_micro_batches(dataset, config, [Task(0, 0, 0, chosen, indices, 1.0)])
    images, targets = prepare(training, batch, epoch=0)
    pixels = (images * training.std + training.mean).mul(255).round().clamp(0, 255).to(torch.uint8).cpu()
    return grid(pixels[1:], [_target(target, dataset.classes) for target in targets[1:].float().cpu()])


def first_validation_images(config: Config, dataset: Dataset) -> Tensor:
    """Images of the validation set, evenly spread over it, as the network sees them."""
    spread = torch.linspace(0, len(dataset) - 1, min(SHOWN, len(dataset))).long().tolist()
    chosen = [index for index in spread if config.data.on_corrupt == "fail" or _can_be_read(dataset, index)]
    return grid(_validation_pixels(config, dataset, chosen), [dataset.classes[dataset.labels[i]] for i in chosen])


def predictions(config: Config, dataset: Dataset, evaluation: Evaluation, worst: bool) -> Tensor:
    """The images whose labels the network thinks least (worst) or most likely, with what it says they are."""
    log_likelihood = evaluation.logits.float().log_softmax(1)
    of_label = log_likelihood.gather(1, evaluation.labels[:, None]).squeeze(1)
    chosen = of_label.argsort(descending=not worst)[:SHOWN].tolist()
    captions = []
    for i in chosen:
        likelihood, said = log_likelihood[i].exp().max(0)
        label = int(evaluation.labels[i])
        verdict = f"{dataset.classes[int(said)]} {likelihood:.0%}"
        captions.append(verdict if said == label else f"{verdict}\nis {dataset.classes[label]} {of_label[i].exp():.0%}")
    return grid(_validation_pixels(config, dataset, evaluation.indices[chosen].tolist()), captions)


def _can_be_read(dataset: Dataset, index: int) -> bool:
    try:
        dataset.open(index).whole()
    except DataError:
        return False
    return True


def _validation_pixels(config: Config, dataset: Dataset, chosen: list[int]) -> Tensor:
    sizes = config.resolution
    transformed = (
        apply_eval(dataset.open(i).whole(), sizes.val_resize, sizes.val_crop, sizes.interpolation) for i in chosen
    )
    none = torch.empty((0, 3, sizes.val_crop, sizes.val_crop), dtype=torch.uint8)
    return torch.cat([none, *(image[None] for image in transformed)])


def _target(target: Tensor, classes: list[str]) -> str:
    """A target as it is mixed: `apple`, or `0.72 apple + 0.28 milk`."""
    shares, labels = target.topk(min(2, len(target)))
    parts = [(float(share), classes[int(label)]) for share, label in zip(shares, labels, strict=True) if share > 0.005]
    if len(parts) == 1:
        return parts[0][1]
    return "\n".join(f"{share:.2f} {name}" for share, name in parts)
