"""`hydra.launcher.until=resolved`: which further seeds are trained, how it ends, and how it goes on."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.types import RunMode
from synthetic import write_run

from recipe.errors import ConfigError
from recipe.ladder.comparing import sequential
from recipe.ladder.comparing.compare import compare
from recipe.ladder.reading import looks_taken
from recipe.ladder.reading.collect import collect
from recipe.plan import compose
from recipe.plan.command_line import for_hydra
from recipe.plan.source_code import SourceCode
from recipe.sweep import until
from recipe.sweep.composing import Composer, let_interpolations_see
from recipe.sweep.jobs import Job
from recipe.sweep.launcher import RecipeLauncher

RECIPES = ("r00_baseline", "r01_lr_optimizations", "r02_trivial_augment")
TRUTH = dict(zip(RECIPES, (50.0, 53.0, 53.05), strict=True))  # the first gain is plain, the second is hard to see
GIVEN = (f"+recipe={','.join(RECIPES)}", "scale=demo", "data=synthetic")
SMALL = {"max_seeds": 8, "hours": None, "smallest_gain": None}


class Interrupted(BaseException):
    """What a signal does to a sweep."""


class Written(RecipeLauncher):
    """Composes and checks as all launchers do; its trainings are folders of a known truth, written at once."""

    per_job = 1

    def __init__(self, sweep: Path, stop_after: int | None = None, sd: float = 0.1) -> None:
        loader = GlobalHydra.instance().config_loader()
        given = for_hydra((*GIVEN, f"hydra.sweep.dir={sweep}"))
        self.config = loader.load_configuration("config", given, run_mode=RunMode.MULTIRUN)
        let_interpolations_see(self.config)
        self.composer, self.code = Composer(loader, self.config), SourceCode("continue", [])
        self.by_folder: dict[str, Job] = {}
        self.record = None
        self.trained: list[str] = []
        self.started: list[int] = []  # numbers of jobs
        self.stop_after, self.sd = stop_after, sd

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        jobs = self.jobs(job_overrides, initial_job_idx, 1)
        for job in jobs:
            self.started.append(job.number)
            if job.result() is None:
                if len(self.trained) == self.stop_after:
                    raise Interrupted
                self._train(job)
        return [JobReturn(overrides=job.overrides, working_dir=str(job.folder)) for job in jobs]

    def _train(self, job: Job) -> None:
        config, recipe = job.plan.config, job.plan.rung.name
        assert not (job.folder / "result.json").exists()
        rng = np.random.default_rng([config.seed, RECIPES.index(recipe)])
        at = write_run(
            job.folder / "new", recipe, config.seed, TRUTH[recipe] + self.sd * rng.standard_normal(), predictions=False
        )
        for path in at.iterdir():
            shutil.move(path, job.folder / path.name)
        shutil.rmtree(job.folder / "new")
        _change(job.folder / "environment.json", name=job.plan.name)
        hashes = {"training_hash": job.plan.training_hash, "result_hash": job.plan.result_hash}
        _change(job.folder / "result.json", **hashes, data_root=config.data.root)
        self.trained.append(f"{recipe} {config.seed}")


def _change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    with compose._hydra():
        yield


def go(launcher: Written, *seeds: str, **changed: Any) -> list[JobReturn]:
    """The command, to its end."""
    task: Any = [*GIVEN, *seeds]
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    (batch,) = BasicSweeper.split_arguments(parser.parse_overrides(task), None)
    return until.launch(launcher, batch, 0, until.Until(**{**SMALL, **changed}))


def looks(sweep: Path) -> looks_taken.LooksTaken:
    (path,) = (sweep / looks_taken.FOLDER).glob("*.json")
    return looks_taken.read(path)


def test_further_seeds_are_for_what_is_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rung between needs them too, the baseline does not; at max_seeds it ends."""
    launcher = Written(tmp_path)
    returned = go(launcher, "seed=0,1,2")
    seeds = {recipe: [int(one.split()[1]) for one in launcher.trained if recipe in one] for recipe in RECIPES}
    assert seeds == {RECIPES[0]: [0, 1, 2], RECIPES[1]: [*range(8)], RECIPES[2]: [*range(8)]}
    assert len(returned) == len(launcher.trained) == 19
    said = capsys.readouterr().out
    assert "Look 1 of at most 3, at 3 seeds\n" in said
    assert said.count("r01_lr_optimizations over r00_baseline: resolved: helps (+3.") == 3
    assert said.count("r02_trivial_augment over r01_lr_optimizations: open (") == 2
    assert said.count("r02_trivial_augment over r01_lr_optimizations: at max_seeds=8, unresolved (") == 1
    assert "1 of 2 comparisons resolved, 1 at max_seeds=8; 19 runs, where 8 seeds of every setting are 24." in said

    comparisons = compare(runs := collect([tmp_path]))
    sequential.with_looks(comparisons, runs, [tmp_path])
    verdicts = [row.gain.verdict for row in comparisons[0].rows[1:] if row.gain]
    assert verdicts == ["helps", "unresolved (at max_seeds=8)"]


def test_a_small_gain_ends_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launcher = Written(tmp_path)
    go(launcher, "seed=4,9", smallest_gain=1.0)
    assert "resolved: smaller than 1 in either direction" in capsys.readouterr().out
    assert {one.split()[1] for one in launcher.trained if RECIPES[0] in one} == {"4", "9", "10"}  # next integers
    assert len(looks(tmp_path).looks) < 3


@pytest.mark.parametrize(
    "after", [pytest.param(4, marks=pytest.mark.slow), 9, pytest.param(12, marks=pytest.mark.slow)]
)
def test_an_interrupted_sweep_goes_on_where_it_was(
    after: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Written(tmp_path / "whole")
    go(whole, "seed=0,1,2")
    told = capsys.readouterr().out.replace("whole", "again")
    first = Written(tmp_path / "again", stop_after=after)
    with pytest.raises(Interrupted):
        go(first, "seed=0,1,2")
    assert len(first.trained) == after
    before = (tmp_path / "again" / looks_taken.FOLDER).glob("*.json")
    assert sum(len(looks_taken.read(path).looks) for path in before) == (after >= 9)
    capsys.readouterr()

    second = Written(tmp_path / "again")
    go(second, "seed=0,1,2")
    assert capsys.readouterr().out == told
    assert first.trained + second.trained == whole.trained  # nothing twice
    assert second.started == whole.started  # under the same numbers
    one, other = looks(tmp_path / "whole"), looks(tmp_path / "again")
    assert (one.design, one.looks, one.folders) == (other.design, other.looks, other.folders)

    third = Written(tmp_path / "again")
    assert len(go(third, "seed=0,1,2")) == 19
    assert not third.trained


def test_what_was_looked_at_is_trained_again_where_it_is_gone(tmp_path: Path) -> None:
    go(Written(tmp_path), "seed=0,1,2", max_seeds=5)
    before = looks(tmp_path).looks
    (gone,) = tmp_path.glob("r02*/seed=4")
    shutil.rmtree(gone)
    again = Written(tmp_path)
    go(again, "seed=0,1,2", max_seeds=5)
    assert again.trained == [f"{RECIPES[2]} 4"]
    assert looks(tmp_path).looks == before


def test_no_batch_begins_that_would_not_end_in_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launcher = Written(tmp_path)
    go(launcher, "seed=0,1,2", hours=1e-9, max_seeds=5)
    assert len(launcher.trained) == 9  # those that were given in any case
    assert "1 of 2 comparisons resolved, 1 open (hydra.launcher.hours=1e-09 are over; " in capsys.readouterr().out
    assert looks(tmp_path).seconds > 0
    longer = Written(tmp_path)
    go(longer, "seed=0,1,2", hours=5, max_seeds=5)
    assert len(longer.trained) == 4


def test_another_plan_after_looking_is_refused(tmp_path: Path) -> None:
    go(Written(tmp_path), "seed=0,1,2", max_seeds=5)
    for seeds, changed in (("0,1,2", {"max_seeds": 12}), ("0,1,2", {"smallest_gain": 0.5}), ("0,1,2,3", {})):
        with pytest.raises(ConfigError, match="2 times, as planned with 3 seeds given, max_seeds=5 and without"):
            go(Written(tmp_path), f"seed={seeds}", **{"max_seeds": 5, **changed})


@pytest.mark.parametrize(
    ("arguments", "changed", "says"),
    [
        (("seed=0,1,2", "+recipe=v1"), {}, "one setting alone is compared with nothing"),
        (("seed=0,1,2", "data.folds=3", "data.fold=0"), {}, "without data.fold and max_steps"),
        (("seed=0,1,2", "max_steps=3"), {}, "without data.fold and max_steps"),
        (("seed=0,1,2,3",), {"max_seeds": 3}, "max_seeds=3: 4 seeds are given already"),
    ],
)
def test_sweeps_to_which_no_seeds_can_be_added_are_refused(
    tmp_path: Path, arguments: tuple[str, ...], changed: dict[str, Any], says: str
) -> None:
    launcher = Written(tmp_path)
    with pytest.raises(ConfigError, match=says):
        go(launcher, *arguments, **changed)
    assert not launcher.trained
    assert not list(tmp_path.iterdir())


def options(**given: Any) -> dict[str, Any]:
    return {"until": "resolved", "max_seeds": None, "hours": None, "smallest_gain": None, "promote": None} | given


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"until": None, "max_seeds": 5}, "max_seeds=5: goes with hydra.launcher.until=resolved"),
        ({"until": None, "smallest_gain": 0.2, "hours": 3.0}, "hours=3 hydra.launcher.smallest_gain=0.2: goes with"),
        ({"until": "solved"}, "must be resolved"),
        ({"max_seeds": 1}, "at least 2"),
        ({"smallest_gain": 0.0}, "above 0"),
        ({"hours": -1.0}, "above 0"),
        ({"wait": False}, "needs hydra.launcher.wait=true"),
        ({"promote": [0.1, 1]}, "choose one"),
    ],
)
def test_wrong_keys_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        until.asked(options(**given))


def test_right_keys() -> None:
    assert until.asked(options(until=None)) is None
    assert until.asked(options(wait=True)) == until.Until(20, None, None)
    left = options(max_seeds=7, hours=2.0, smallest_gain=0.3, jobs=3)
    assert until.asked(left) == until.Until(7, 2.0, 0.3)
    assert left == {"promote": None, "jobs": 3}  # for the launcher
