"""An evaluation counts every image once, on any number of ranks, and its figures are those of a plain computation."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import evaluation_worker as worker
import numpy as np
import pytest
import torch
from conftest import torchrun
from evaluation_worker import BATCH, CONFIG, GRID, Photos, networks
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from recipe.data import dataset as datasets
from recipe.data.dataset import Images
from recipe.network.model import make_model

MEAN, STD = (torch.tensor(values, dtype=torch.float64) for values in (CONFIG.data.mean, CONFIG.data.std))
Folder = Callable[[int], Path]
Found = dict[str, Any]

SLOW = pytest.mark.slow
on_ranks = pytest.mark.parametrize("world_size", [1, 2, pytest.param(3, marks=SLOW), pytest.param(4, marks=SLOW)])
on_even_ranks = pytest.mark.parametrize("world_size", [1, 2, pytest.param(4, marks=SLOW)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    parent = tmp_path_factory.mktemp("evaluation")

    def of(world_size: int) -> Path:
        started = parent / str(world_size)
        if not started.exists():  # once, even if it fails
            started.mkdir()
            if world_size == 1:
                worker.main(started)
            else:
                torchrun(world_size, Path(worker.__file__), started)
        return started

    return of


def found_by_ranks(folder: Folder, world_size: int) -> list[Found]:
    files = [folder(world_size) / f"rank{rank}.pt" for rank in range(world_size)]
    return [torch.load(file, weights_only=False) for file in files]


class Plain(NamedTuple):
    """Figures by the book."""

    acc1: float
    acc5: float
    balanced_acc1: float
    loss: float
    correct: list[bool]
    logits: Tensor


def assert_figures(found: Mapping[str, float], expected: Plain, rel: float = 1e-9) -> None:
    for name in ("acc1", "acc5", "loss"):
        assert found[name] == pytest.approx(getattr(expected, name), rel=rel), name
    assert found["balanced_acc1"] == pytest.approx(expected.balanced_acc1, rel=1e-6)  # summed in single precision


def plain(network: nn.Module, dataset: Images, val_resize: int, val_crop: int) -> Plain:
    """One image after another."""
    network = network.double().eval()
    better, losses, rows = [], [], []
    for index in range(len(dataset)):
        pixels = F.center_crop(F.resize(dataset.open(index).whole(), [val_resize], antialias=True), [val_crop])
        with torch.no_grad():
            logits = network(F.normalize(pixels.double() / 255, MEAN, STD)[None])[0]
        label = int(dataset.labels[index])
        better.append(int((logits > logits[label]).sum()))
        losses.append(float(torch.logsumexp(logits, 0) - logits[label]))
        rows.append(logits)
    acc1, acc5 = (100 * sum(rank < k for rank in better) / len(dataset) for k in (1, 5))
    correct = np.array(better) == 0
    balanced_acc1 = 100 * np.mean([correct[dataset.labels == label].mean() for label in np.unique(dataset.labels)])
    return Plain(acc1, acc5, float(balanced_acc1), float(np.mean(losses)), correct.tolist(), torch.stack(rows))


def assert_found(ranks: list[Found], name: str, photos: Photos, models: dict[str, nn.Module], rel: float) -> None:
    for weights, model in models.items():
        expected = plain(model, photos, *worker.SIZES)
        for rank in ranks:
            assert_figures(rank[name][weights].figures(), expected, rel)
        first = ranks[0][name][weights]
        assert first.indices.tolist() == list(range(len(photos)))
        assert first.labels.tolist() == photos.labels.tolist()
        assert first.correct.tolist() == expected.correct
        assert first.acc1 == pytest.approx(100 * first.correct.double().mean().item())
        assert torch.allclose(first.logits.double(), expected.logits, rtol=1e-3, atol=1e-4)  # float16


@on_ranks
def test_figures_equal_a_plain_computation_at_every_size(folder: Folder, world_size: int) -> None:
    """Around a whole number of batches on each rank, with one image, and with fewer images than ranks."""
    ranks = found_by_ranks(folder, world_size)
    for images in worker.sizes(world_size):
        assert_found(ranks, str(images), Photos(images), networks(), rel=1e-9)
    assert {1, world_size * BATCH - 1, world_size * BATCH, world_size * BATCH + 1} <= {*worker.sizes(world_size)}
    largest = ranks[0][str(images)]
    assert largest["raw"].figures() != largest["ema"].figures()
    for found in (largest["raw"], largest["ema"]):
        assert 0 < found.acc1 < found.acc5 < 100
        assert len({*found.logits.argmax(1).tolist()}) > 2


@on_ranks
def test_every_image_is_read_once_by_one_rank(folder: Folder, world_size: int) -> None:
    ranks = found_by_ranks(folder, world_size)
    for images in worker.sizes(world_size):
        read = [rank[str(images)]["read"] for rank in ranks]
        assert sorted(index for own in read for index in own) == list(range(images))
        assert max(map(len, read)) - min(map(len, read)) <= 1


@on_ranks
def test_rows_are_gathered_one_rank_after_another(folder: Folder, world_size: int) -> None:
    expected = [[rank, rank] for rank in range(world_size) for _ in range(worker.ROWS[rank])]
    assert found_by_ranks(folder, world_size)[0]["rows"].tolist() == expected


@on_ranks
def test_fewer_than_five_classes_single_precision_and_workers(folder: Folder, world_size: int) -> None:
    ranks = found_by_ranks(folder, world_size)
    assert_found(ranks, "three classes", Photos(9, num_classes=3), networks(3), rel=1e-9)
    assert_found(ranks, "fp32", Photos(9), networks(dtype=torch.float32), rel=1e-5)
    assert_found(ranks, "workers", Photos(9), networks(), rel=1e-9)
    assert ranks[0]["three classes"]["raw"].acc5 == 100
    assert ranks[0]["workers"]["read"] == []


@on_even_ranks
def test_runs_evaluate_the_epochs_they_should_with_exact_figures(folder: Folder, world_size: int) -> None:
    """evaluate.every=2 of 3 epochs: the second, and the last as always."""
    run = folder(world_size) / "run"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evaluated = [row for row in rows if "val/acc1" in row]
    assert [(row["epoch"], row["step"]) for row in evaluated] == [(1, 4), (2, 6)]
    for row, checkpoint in zip(evaluated, ("last.1.pt", "last.pt"), strict=True):
        networks = trained(run, checkpoint, epochs=row["epoch"] + 1)
        raw, ema = (plain(network, val_set(), 52, 48) for network in networks.values())
        assert_figures({key.removeprefix("val/"): value for key, value in row.items()}, raw)
        assert_figures({key.removeprefix("ema/"): value for key, value in row.items()}, ema)
        assert abs(raw.loss - ema.loss) > 1e-4


@on_even_ranks
def test_results_hold_the_figures_of_every_size_asked_for(folder: Folder, world_size: int) -> None:
    run = folder(world_size) / "run"
    result = json.loads((run / "result.json").read_text())
    networks = trained(run, "last.pt", epochs=3)
    final = {weights: plain(network, val_set(), 52, 48) for weights, network in networks.items()}
    for weights, expected in final.items():
        assert_figures(result[weights], expected)
    assert {name: result[name] for name in result["ema"]} == result["ema"]

    asked = [("raw", 52, 48), ("ema", 64, 56), ("ema", 52, 40)]
    assert len(GRID) == len(asked)
    for entry, (weights, val_resize, val_crop) in zip(result["grid"], asked, strict=True):
        assert (entry["weights"], entry["val_resize"], entry["val_crop"]) == (weights, val_resize, val_crop)
        assert_figures(entry, plain(networks[weights], val_set(), val_resize, val_crop))
    assert len({result["raw"]["loss"], result["ema"]["loss"], *(entry["loss"] for entry in result["grid"])}) == 4

    predictions = np.load(run / "predictions.npz")
    assert predictions["index"].tolist() == list(range(7))
    assert predictions["label"].tolist() == val_set().labels.tolist()
    assert np.allclose(predictions["logits"], final["ema"].logits, rtol=1e-3, atol=1e-4)


def val_set() -> Images:
    return datasets.load(CONFIG.data)[1]


def trained(run: Path, checkpoint: str, epochs: int) -> dict[str, nn.Module]:
    """The networks of a run as a checkpoint holds them."""
    state = torch.load(run / "checkpoints" / checkpoint, weights_only=True)
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (epochs - 1, 2)
    networks = {"raw": make_model(CONFIG, 10), "ema": make_model(CONFIG, 10)}
    networks["raw"].load_state_dict(state["model"])
    networks["ema"].load_state_dict(state["ema"])
    return networks
