"""1, 2 and 4 processes are the same experiment: the same images, batches and draws, and weights equal but for rounding.

One start of torchrun trains all that the tests ask of a world size; one rank trains in the tests' own process.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import world_size_worker as worker
from conftest import torchrun
from torch import Tensor
from world_size_worker import BATCH, EPOCHS, IMAGES, MICRO_BATCHES, SIZES, STEPS, Seen

from recipe.config import Config, SamplerConfig
from recipe.data.order import Order, make_order
from recipe.errors import ConfigError
from recipe.randomness import reseed_device

PLAIN, REPEATED, CLIPPED, BALANCED, REAL, SINGLE, *WITH_WORKERS = worker.EXPERIMENTS
QUICK = [PLAIN, REPEATED, SINGLE, "1", "7", "65"]
SLOW = [CLIPPED, BALANCED, REAL, *WITH_WORKERS, *(size for size in SIZES if size not in QUICK)]
TAKEN = {"8": 8, "39": 32, "40": 40, "63": 63, "64": 64, "65": 64, "257": 256}  # of the images, in an epoch

Seens = Callable[[int, str], list[Seen]]  # by world size and name: what each rank saw
with_4_ranks = pytest.mark.parametrize("world_size", [2, pytest.param(4, marks=pytest.mark.slow)])


def named(quick: list[str], slow: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", [*quick, *(pytest.param(name, marks=pytest.mark.slow) for name in slow)])


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seens:
    folder = tmp_path_factory.mktemp("world_sizes")

    @cache
    def of(world_size: int, name: str) -> list[Seen]:
        names = [name] if world_size == 1 else QUICK if name in QUICK else SLOW
        started = folder / f"{world_size} {names[0]}"
        if not started.exists():  # once, even if it fails
            started.mkdir()
            if world_size == 1:
                worker.main(started, *names)
            else:
                torchrun(world_size, Path(worker.__file__), started, *names)
        return [torch.load(started / name / f"rank{rank}.pt", weights_only=False) for rank in range(world_size)]

    return of


@with_4_ranks
@named([PLAIN, REPEATED], [CLIPPED, BALANCED, REAL])
def test_ranks_together_see_the_images_batches_and_draws_of_one(seen: Seens, world_size: int, name: str) -> None:
    (one,), ranks = seen(1, name), seen(world_size, name)
    for what in ("tasks", "draws", "mixes"):
        assert together(ranks, what) == one[what], what
    inputs = together(ranks, "inputs")
    assert inputs.keys() == one["inputs"].keys()
    for address, (images, targets) in one["inputs"].items():
        assert torch.equal(inputs[address][0], images), address
        assert torch.equal(inputs[address][1], targets), address
    micro_batches = 1 + max(micro_batch for _, _, micro_batch in one["tasks"])
    for number, rank in enumerate(ranks):
        assert {micro_batch * world_size // micro_batches for _, _, micro_batch in rank["tasks"]} == {number}
        assert rank["rates"] == one["rates"]


@with_4_ranks
@named([PLAIN, REPEATED], [CLIPPED, BALANCED, REAL])
def test_ranks_train_the_weights_of_one(seen: Seens, world_size: int, name: str) -> None:
    """In double precision, after six steps: weights, batch-norm statistics, their averages, and all figures."""
    (one,), ranks = seen(1, name), seen(world_size, name)
    for rank in ranks:
        for state in ("network", "ema"):
            assert difference(rank[state], one[state]) < 1e-9
            assert difference(rank[state], ranks[0][state]) == 0
        assert rank["figures"] == ranks[0]["figures"]
        for figures, expected in zip(rank["figures"], one["figures"], strict=True):
            for weights in ("raw", "ema"):
                assert figures[weights] == pytest.approx(expected[weights], rel=1e-9)


@with_4_ranks
@named([PLAIN, REPEATED, SINGLE], [CLIPPED, BALANCED, REAL])
def test_ranks_log_the_losses_and_hits_of_one(seen: Seens, world_size: int, name: str) -> None:
    one, ranks = (training_log(seen(number, name)[0]["folder"]) for number in (1, world_size))
    assert [row["step"] for row in ranks] == list(range(1, EPOCHS * STEPS + 1))
    compared = 1 if name == SINGLE else None  # rounding grows from step to step
    for figure in ("train/loss", "train/acc1", "train/lr"):
        expected = [row[figure] for row in one]
        assert [row[figure] for row in ranks[:compared]] == pytest.approx(expected[:compared], rel=1e-5)
        assert len(set(expected)) == len(expected) or figure == "train/acc1"
    assert any(row["train/acc1"] for row in one)


@with_4_ranks
def test_first_gradients_agree_in_single_precision(seen: Seens, world_size: int) -> None:
    (one,) = seen(1, SINGLE)
    for rank in seen(world_size, SINGLE):
        assert difference(rank["gradients"][0], one["gradients"][0], relative=True) < 1e-5


@pytest.mark.parametrize("world_size", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
def test_every_image_of_an_uneven_step_weighs_the_same(seen: Seens, world_size: int) -> None:
    """Micro-batches of 7, 7, 6 and 6 images: the gradient is that of the mean over all 26, taken in one sum here."""
    ranks, step = seen(world_size, PLAIN), STEPS - 1
    network, inputs = deepcopy(ranks[0]["uneven"]), together(ranks, "inputs")
    for number in range(MICRO_BATCHES):
        images, targets = inputs[0, step, number]
        reseed_device(torch.device("cpu"), 0, 0, step, number)  # for dropout
        (F.cross_entropy(network(images), targets, label_smoothing=0.1, reduction="sum") / 26).backward()
    expected = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert difference(ranks[0]["gradients"][step], expected) < 1e-12


@named([PLAIN, REPEATED], [CLIPPED, BALANCED, REAL])
def test_experiments_have_what_could_differ(seen: Seens, name: str) -> None:
    (one,) = seen(1, name)
    config = worker.changed(worker.EXPERIMENTS[name])
    micro_batches = config.batch_size // config.micro_batch_size
    assert len(one["rates"]) == len(set(one["rates"])) == EPOCHS * STEPS
    assert len({draw.crop for draw in one["draws"].values()}) > len(one["draws"]) / 2
    assert {draw.flip for draw in one["draws"].values()} == {False, True}
    assert sum(draw.erase.height > 0 for draw in one["draws"].values()) > len(one["draws"]) / 4
    assert {draw.box is None for draw in one["mixes"].values()} == {False, True}  # mixup and cutmix
    assert len({draw.lam for draw in one["mixes"].values()}) > len(one["mixes"]) / 2
    assert sum(0.1 < draw.lam < 0.9 for draw in one["mixes"].values()) > len(one["mixes"]) / 4
    sizes = [len(one["tasks"][0, step, number].indices) for step in range(STEPS) for number in range(micro_batches)]
    full = config.micro_batch_size
    assert sizes[:-micro_batches] == [full] * (2 * micro_batches)
    last = {PLAIN: [7, 7, 6, 6], REPEATED: [6] * 4, REAL: [6] * 4, CLIPPED: [4, 4, 3, 3, 3, 3, 3, 3]}
    assert sizes[-micro_batches:] == last[name]
    assert difference(one["network"], one["initial"]) > 1e-2
    assert difference(one["network"], one["ema"]) > 1e-2
    buffer = next(key for key in one["network"] if key.endswith("num_batches_tracked"))
    assert one["network"][buffer] == EPOCHS * STEPS
    assert one["figures"][-1]["raw"] != one["figures"][-1]["ema"]


@pytest.mark.parametrize("repetitions", [1, 4])
def test_micro_batches_take_the_epochs_order_in_strides(seen: Seens, repetitions: int) -> None:
    (one,) = seen(1, PLAIN if repetitions == 1 else REPEATED)
    length = {1: IMAGES, 4: IMAGES // MICRO_BATCHES * MICRO_BATCHES}[repetitions]
    for epoch in range(EPOCHS):
        once = Order(IMAGES, BATCH, MICRO_BATCHES, 1, seed=0).images(epoch).tolist()
        images = [image for image in once for _ in range(repetitions)][:length]
        for step in range(STEPS):
            positions = range(len(images))[step * BATCH : (step + 1) * BATCH]
            for number in range(MICRO_BATCHES):
                task = one["tasks"][epoch, step, number]
                assert task.positions == list(positions[number::MICRO_BATCHES])
                assert task.indices == [images[position] for position in task.positions]


@pytest.mark.parametrize(
    "world_size", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
def test_workers_change_no_bit(seen: Seens, world_size: int) -> None:
    expected = seen(world_size, SINGLE)
    for name in WITH_WORKERS:
        for rank, without in zip(seen(world_size, name), expected, strict=True):
            assert without["tasks"]
            assert not rank["tasks"]  # they are done elsewhere
            assert rank["figures"] == without["figures"]
            for state in ("network", "ema"):
                assert all(torch.equal(rank[state][key], tensor) for key, tensor in without[state].items())


@pytest.mark.parametrize("world_size", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("size", ["1", "7"])
def test_too_small_a_set_is_refused_on_every_rank(seen: Seens, world_size: int, size: str) -> None:
    """And none waits for another: they all go on to the next experiments."""
    for rank in seen(world_size, size):
        assert rank["refused"].startswith(f"the training set has {size} images, fewer than two for each of the 4")
        assert rank["tasks"] == {}


@with_4_ranks
@named(["65"], [size for size in TAKEN if size != "65"])
def test_epochs_of_any_size_are_the_same_on_all_ranks(seen: Seens, world_size: int, name: str) -> None:
    (one,), ranks = seen(1, name), seen(world_size, name)
    assert together(ranks, "tasks") == one["tasks"]
    assert together(ranks, "mixes") == one["mixes"]
    images = [image for task in one["tasks"].values() for image in task.indices]
    assert len(images) == len(set(images)) == TAKEN[name]
    for run in (one["folder"], ranks[0]["folder"]):
        result = json.loads((run / "result.json").read_text())
        assert result["images_seen"] == result["unique_images"] == TAKEN[name]
        left_out = int(name) - TAKEN[name]
        said = f"the last {left_out} positions of each epoch are too few for a step and left out"
        assert (said in (run / "train.log").read_text()) == (left_out > 0)


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
@pytest.mark.parametrize("repetitions", [1, 4])
@pytest.mark.parametrize("batches", [1, 2, 5])
@pytest.mark.parametrize("more", [-17, -16, -15, -1, 0, 1, 15, 16, 17])
def test_ranks_share_each_step_evenly_at_every_size(world_size: int, repetitions: int, batches: int, more: int) -> None:
    """256 images a step in 8 micro-batches, so 16 are the fewest of a last step."""
    num_images, config = 256 * batches + more, Config(sampler=SamplerConfig(repetitions=repetitions))
    order = make_order(config, num_images)
    images = order.images(0)
    taken = 0
    for step in range(order.steps):
        shares = []
        for rank in range(world_size):
            own = [
                order.micro_batch_positions(step, number)
                for number in range(8)[rank * 8 // world_size :][: 8 // world_size]
            ]
            assert all(2 <= len(positions) <= 32 for positions in own)
            assert all(len({*images[positions].tolist()}) == len(positions) for positions in own)
            shares.append(sum(map(len, own)))
        assert max(shares) - min(shares) <= 8 // world_size
        taken += sum(shares)
    assert taken == len(images)
    length = num_images if repetitions == 1 else num_images // 256 * 256 or num_images // 8 * 8
    assert order.dropped == (length % 256 if length % 256 < 16 else 0)
    assert taken + order.dropped == length
    if (repetitions, num_images) == (1, 257):
        assert (taken, order.dropped, order.steps) == (256, 1, 1)


@pytest.mark.parametrize("num_images", [0, 1, 2, 15])
def test_under_two_images_to_a_micro_batch_are_refused(num_images: int) -> None:
    for repetitions in (1, 4):
        with pytest.raises(ConfigError, match=f"has {num_images} images, fewer than two for each of the 8"):
            make_order(Config(sampler=SamplerConfig(repetitions=repetitions)), num_images)
        assert make_order(Config(sampler=SamplerConfig(repetitions=repetitions)), 16).steps == 1


def together(ranks: list[Seen], what: str) -> dict[Any, Any]:
    """What the ranks saw, none of it twice."""
    union = {address: value for rank in ranks for address, value in rank[what].items()}
    assert len(union) == sum(len(rank[what]) for rank in ranks)
    assert all(rank[what] for rank in ranks)
    return union


def training_log(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "train/loss" in row]


def difference(one: dict[str, Tensor], other: dict[str, Tensor], relative: bool = False) -> float:
    """The largest difference of two values; relative: to the largest of their tensor."""
    assert one.keys() == other.keys()
    largest = 0.0
    for key, tensor in one.items():
        scale = other[key].abs().max().item() if relative else 1.0
        largest = max(largest, (tensor.double() - other[key].double()).abs().max().item() / scale)
    return largest
