"""A sweep's jobs are composed once for all that differ in plain values: to the plans that composing each would give."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

from recipe.errors import ConfigError
from recipe.plan import compose
from recipe.plan.command_line import for_hydra
from recipe.plan.compose import Plan
from recipe.plan.hydra_errors import explain
from recipe.sweep.composing import Composer, let_interpolations_see, plain_overrides

DATA = ("scale=demo", "data=synthetic")
SWEEPS = {
    "seeds": ("+recipe=v1,r12_repeated_augmentation", "seed=0,1,7"),
    "folds": ("+recipe=v2", "data.folds=3", "data.fold=0,1,2", "seed=1,2"),
    "learning rates": ("+recipe=v1", "optimizer.lr=0.1,1,3e-2", "seed=0,1"),
    "batches, which scale others": ("+recipe=v2", "batch_size=128,256", "micro_batch_size=16,32"),
    "lengths, which others follow": ("+recipe=v1", "+with=[long_training,ema]", "epochs=30,60", "seed=0,1"),
    "lengths and a schedule": ("+recipe=v2", "schedule=step", "schedule.step_size=3,4", "schedule.gamma=0.1,0.2"),
    "groups": ("+recipe=v1", "augment=standard,rand_augment", "optimizer=sgd,adamw", "seed=0,1"),
    "ablations": ("+recipe=v2", "+without=mixup,ema", "seed=0,1,2"),
    "additions": ("+recipe=r01_lr_optimizations", "+with=mixup,[mixup,ema]", "mix.mixup_alpha=0.3,0.4"),
    "scales": ("+recipe=v2", "scale=demo,small", "scale.resolution=0.5,0.25", "seed=0,1"),
    "nulls, booleans and names": ("+recipe=v1", "early_stopping.patience=null,3", "runtime.channels_last=true,false"),
    "lists and dicts": ("+recipe=v1", "augment.scale=[0.1,1.0],[0.2,1.0]", "model.args={groups: 1}", "seed=0,1"),
    "numbers of jobs": ("+recipe=v1", "seed=0,1,2", "hydra.sweep.subdir=${hydra.job.num}-${hydra:job.id}/s${seed}"),
    "command lines": ("+recipe=v1", "seed=0,1", "hydra.sweep.subdir=${hydra.job.override_dirname}"),
    "interpolations": ("+recipe=v1", "seed=30,40", "schedule=cosine", "epochs=${seed}"),
    "of several keys": ("+recipe=v1", "seed=2,3", "optimizer.lr=0.1,0.2", "optimizer.weight_decay=${optimizer.lr}"),
    "added keys": ("+recipe=v1", "++seed=0,1", "optimizer.lr=0.1"),
    "of quotes": ("+recipe=v1", "model.name='resnet18',\"resnet34\"", "seed=0,1"),
    "nothing": ("+recipe=v1",),
}  # fmt: skip

LONG = {"folds", "batches, which scale others", "lengths and a schedule", "additions", "lists and dicts", "of quotes"}


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    with compose._hydra():
        yield


def master_and_jobs(arguments: tuple[str, ...]) -> tuple[Any, list[list[str]]]:
    loader = GlobalHydra.instance().config_loader()
    given = for_hydra(arguments)
    master = loader.load_configuration("config", given, run_mode=RunMode.MULTIRUN)
    task: Any = OmegaConf.to_container(master.hydra.overrides.task, resolve=False)
    batches = BasicSweeper.split_arguments(OverridesParser.create(loader).parse_overrides(task), None)
    let_interpolations_see(master)
    return master, batches[0]


def composed_by_itself(master: Any, overrides: list[str], number: int) -> Plan:
    """As every job was composed before there was a composer."""
    composed = GlobalHydra.instance().config_loader().load_sweep_config(master, overrides)
    with open_dict(composed):
        composed.hydra.job.id, composed.hydra.job.num = number, number
        plan = compose.plan(composed, composed.hydra)
        raw: Any = OmegaConf.to_container(composed.hydra.sweep, resolve=False)
        composed.hydra.sweep.subdir = raw["subdir"].replace("${run_name:}", plan.name)
    let_interpolations_see(composed)
    folder = Path(composed.hydra.sweep.dir).absolute() / composed.hydra.sweep.subdir
    let_interpolations_see(master)
    return replace(plan, folder=folder, hydra_files={})


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in SWEEPS]
)
def test_plans_are_those_of_composing_each(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    master, jobs = master_and_jobs((*SWEEPS[name], *(given for given in DATA if given[:5] not in str(SWEEPS[name]))))
    expected = [composed_by_itself(master, overrides, number) for number, overrides in enumerate(jobs, 4)]
    composer = Composer(GlobalHydra.instance().config_loader(), master)
    found = [composer.plan(overrides, number) for number, overrides in enumerate(jobs, 4)]
    for one, other in zip(found, expected, strict=True):
        assert one == other
    assert len({(plan.folder, plan.config.seed) for plan in found}) == len(jobs)


def test_jobs_that_differ_in_plain_values_are_composed_by_hydra_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = GlobalHydra.instance().config_loader()
    master, jobs = master_and_jobs(("+recipe=v1,v2", "seed=range(20)", "optimizer.lr=0.1,0.2", *DATA))
    asked: list[list[str]] = []
    load = loader.load_sweep_config

    def counted(master: Any, overrides: list[str]) -> Any:
        asked.append(overrides)
        return load(master, overrides)

    monkeypatch.setattr(loader, "load_sweep_config", counted)
    composer = Composer(loader, master)
    assert len({composer.plan(overrides, 0).folder for overrides in jobs}) == 80
    assert asked == [[f"+recipe={recipe}", *DATA] for recipe in ("v1", "v2")]


@pytest.mark.parametrize(
    "wrong",
    ["seed=x", "seed=0.5", "optimizer.lr=-1", "runtime.compile=x", "+seed=3", "sed=3", "epochs=null"],
)
def test_a_wrong_value_is_refused_in_the_words_of_hydra_and_ours(wrong: str) -> None:
    loader = GlobalHydra.instance().config_loader()
    master, _ = master_and_jobs(("+recipe=v1", *DATA))
    composer = Composer(loader, master)
    composer.plan(["+recipe=v1", "seed=3", *DATA], 0)
    job = ["+recipe=v1", wrong, *DATA]
    with pytest.raises((ConfigError, HydraException)) as by_itself:
        composed_by_itself(master, job, 0)
    with pytest.raises((ConfigError, HydraException)) as composed:
        composer.plan(job, 0)
    with pytest.raises((ConfigError, HydraException)) as after_another:
        composer.plan(["+recipe=v1", wrong.replace("seed=x", "seed=y"), *DATA], 1)
    said = explain(by_itself.value)
    assert said == explain(composed.value)
    assert said is not None
    assert said.replace("seed=x", "seed=y") == explain(after_another.value)


def test_plain_values() -> None:
    given = ["+recipe=v1", "seed=3", "data.root='a=b'", "optimizer=adam", "epochs=${seed}", "model.args={}", "+x=1"]
    assert list(plain_overrides(given)) == ["seed", "data.root"]
    assert plain_overrides(["seed=1,2", "optimizer.lr=1", "optimizer.lr=2", "data.mean=[0,0,0]", "rung=1"]) == {}
