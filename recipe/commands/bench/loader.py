"""What loading images costs a core of this machine: our pipeline and others in turn on the same files."""

import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from recipe.commands.bench import pipelines
from recipe.commands.bench.pipelines import Round
from recipe.config import Config
from recipe.data import region
from recipe.data.cache.images import CachedImages
from recipe.data.cache.opening import in_memory
from recipe.data.dataset import Dataset, load, path_of
from recipe.data.order import make_order
from recipe.data.prepare.fetch import fetch
from recipe.data.transforms import apply_train, draw_train
from recipe.errors import ConfigError

T = TypeVar("T")
LEAST_ROUNDS = 3
STAGED = 512  # images whose loading is taken apart


@dataclass
class LoaderFigures:
    """One pipeline's figures."""

    name: str
    during: str  # training or evaluation
    rates: list[float]  # images for each second of CPU time, round by round

    def median(self) -> float:
        """Images per second of one core."""
        return statistics.median(self.rates)

    def times(self, other: "LoaderFigures") -> float:
        """The median over the rounds of how many times as fast as another."""
        return statistics.median(own / its for own, its in zip(self.rates, other.rates, strict=True))


@dataclass
class LoaderMeasurement:
    """All figures."""

    rows: list[LoaderFigures]
    stages: dict[str, float]  # seconds that ours spends on an image, by what it does
    seconds: float  # of the whole measurement

    def row(self, name: str, during: str) -> LoaderFigures | None:
        """The one of that name, where it was measured."""
        return next((row for row in self.rows if (row.name, row.during) == (name, during)), None)


REFERENCE, TIMM, OURS = "torchvision's reference", "timm", "recipe-ladder"


def image_files(config: Config) -> Dataset:
    """The training images. Raises ConfigError where they are no files."""
    fetch(config.data)
    images = load(config.data)[0]
    if images.root is None:
        raise ConfigError(f"data={config.data.name} has no files to load: name a folder of photos with data.root")
    return images


@contextmanager
def cached(config: Config, images: Dataset) -> Iterator[Dataset]:
    """The images, from memory where data.cache asks for that. Raises DataError where they do not fit."""
    with in_memory(config.data, (images,), pipelines.ONE_RANK) as (ours,):
        yield ours


def pipelines_of(config: Config, images: Dataset, count: int) -> dict[tuple[str, str], Round]:
    """The pipelines by name and by what they are for; each loads about `count` images a round."""
    alone = replace(config, sampler=replace(config.sampler, repetitions=1))
    on_host, on_device = (replace(alone, augment=replace(alone.augment, policy_on=w)) for w in ("host", "device"))
    found = {
        (REFERENCE, "training"): pipelines.reference(images, alone, count),
        (TIMM, "training"): pipelines.timm_train(images, alone, count),
        (OURS, "training"): pipelines.ours(images, on_host, count),
    }
    if isinstance(images, CachedImages):
        found[f"{OURS}, data.cache=null", "training"] = pipelines.ours(images.images, on_host, count)
    name = OURS
    if config.augment.policy != "none":
        name = f"{OURS}, device policy"
        found[name, "training"] = pipelines.ours(images, on_device, count)
    if config.sampler.repetitions > 1:
        repeated = replace(on_device, sampler=config.sampler)
        found[f"{name}, {config.sampler.repetitions} repeats", "training"] = pipelines.ours(images, repeated, count)
    found[REFERENCE, "evaluation"] = pipelines.reference_eval(images, alone, count)
    found[TIMM, "evaluation"] = pipelines.timm_eval(images, alone, count)
    found[OURS, "evaluation"] = pipelines.ours_eval(images, alone, count)
    return found


def measure(
    rounds: Mapping[tuple[str, str], Round], stages: dict[str, float], seconds: float, tell: Callable[[str], None]
) -> LoaderMeasurement:
    """Run the pipelines in turn for about `seconds`. The first round is not counted.

    CPU time of the worker and of the process that takes its batches counts, so that transport is in it, and a busy
    machine changes less than by the clock.
    """
    torch.set_num_threads(1)
    region.available()  # loads the library before the first fork: a training's workers do that once
    begin = time.monotonic()
    rows = [LoaderFigures(name, during, []) for name, during in rounds]
    number = -1
    while number < LEAST_ROUNDS or time.monotonic() - begin < seconds:
        for row, load_round in zip(rows, rounds.values(), strict=True):
            rate = _rate(load_round, number + 1)
            if number >= 0:
                row.rates.append(rate)
        number += 1
        tell(f"round {number}, {time.monotonic() - begin:.0f} of {seconds:.0f} s")
    whole = next(row for row in rows if row.name == OURS and row.during == "training")
    stages = {**stages, "transport": max(0.0, 1 / whole.median() - sum(stages.values()))}
    return LoaderMeasurement(rows, stages, time.monotonic() - begin)


def as_json(measured: LoaderMeasurement) -> dict[str, object]:
    """The figures by name."""
    rows = []
    for row in measured.rows:
        ratios = {}
        for name in (REFERENCE, TIMM):
            other = measured.row(name, row.during)
            if other is not None:
                ratios[name] = row.times(other)
        rows.append({**asdict(row), "median": row.median(), "times": ratios})
    return {"rows": rows, "stages": measured.stages, "seconds": measured.seconds}


def _rate(load_round: Round, number: int) -> float:
    """Images for each second of CPU time, the worker's included."""
    before = _cpu_seconds()
    loaded = load_round(number)
    return loaded / (_cpu_seconds() - before)


def _cpu_seconds() -> float:
    """Used by this process and by its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def stages_of(config: Config, images: Dataset) -> dict[str, float]:
    """Seconds of CPU time for an image, by what is done to it: the parts of `load_micro_batches`, one by one."""
    size, resize = config.resolution.train_crop, config.resolution.train_resize
    spent = dict.fromkeys(("read", "decode", "draw", "resize", "policy", "assembly"), 0.0)
    batch = torch.empty((STAGED, 3, size, size), dtype=torch.uint8, memory_format=torch.channels_last)
    chosen = list(dict.fromkeys(make_order(config, len(images), images.labels).images(0).tolist()))[
        :STAGED
    ]  # no repeats

    def timed(stage: str, work: Callable[..., T], *arguments: Any) -> T:
        begin = time.thread_time()
        result = work(*arguments)
        spent[stage] += (time.thread_time() - begin) / len(chosen)
        return result

    for position, index in enumerate(chosen):
        if not isinstance(images, CachedImages):
            timed("read", Path(path_of(images, images.name(index))).read_bytes)
        picture = timed("decode", images.open, index)  # reads it again
        where = config.augment, size, config.seed, 0, position, picture.height, picture.width, resize
        draw = timed("draw", draw_train, *where)
        pixels = timed("decode", picture.pixels, draw.crop)
        draw = draw._replace(crop=draw.crop.within(draw.crop))
        timed("resize", apply_train, pixels, draw._replace(operations=[]), config.resolution)
        image = timed("policy", apply_train, pixels, draw, config.resolution)  # resizes it again
        timed("assembly", batch[position].copy_, image)
    spent["decode"] -= spent["read"]
    spent["policy"] -= spent["resize"]
    return {stage: max(0.0, seconds) for stage, seconds in spent.items()}
