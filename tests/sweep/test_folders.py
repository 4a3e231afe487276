"""Where a sweep's jobs go: each into the folder that the sweep has resolved, and no two runs into one."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose as hydra_compose
from processes import ended, started

from recipe.plan import compose
from recipe.sweep.jobs import Job
from recipe.sweep.pool import Pool
from recipe.train import main

TINY = (
    *("scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "log.images=false", "max_steps=1"),
    *("data.workers=0", "data=synthetic", "data.size=64", "batch_size=32", "micro_batch_size=16", "+recipe=v1"),
)
EXCLUDED = (
    f"hydra.job.config.override_dirname.exclude_keys=[{','.join(text.split('=')[0].strip('+') for text in TINY)}]"
)


class Sweep:
    """Sweeps in this process, below a folder; what the launcher would run is kept instead of run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.jobs: list[Job] = []
        self.arguments: list[list[str]] = []
        self.patch, self.capsys = monkeypatch, capsys

        def keep(pool: Pool) -> None:
            self.jobs = pool.jobs
            self.arguments = [
                [text for text in pool._command(job) if "=" in text and not text.startswith("--")] for job in pool.jobs
            ]
            pool.failed = dict.fromkeys(pool.jobs, "not run")

        monkeypatch.setattr(Pool, "run", keep)

    def __call__(self, *arguments: str) -> str:
        """What such a sweep prints."""
        self.patch.setattr(sys, "argv", ["train.py", "-m", *TINY, *arguments])
        with pytest.raises(SystemExit, check=lambda end: end.code == 2):
            main()
        captured = self.capsys.readouterr()
        return captured.out + captured.err


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sweep:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECIPE_OUTPUTS", str(tmp_path))
    return Sweep(monkeypatch, capsys)


def composed_by_itself(arguments: list[str]) -> Any:
    """What a job makes of its command line: in a process of its own, at another time."""
    with compose._hydra():
        return hydra_compose("config", arguments, return_hydra_config=True).hydra


@pytest.mark.parametrize(
    ("options", "folders"),
    [
        ([], r"multirun_outputs/v1~.*/seed=(0|1)"),
        (
            ["hydra.sweep.dir=x/${now:%Y-%m-%d}/${now:%H-%M-%S-%f}/${seed}", "hydra.sweep.subdir=${now:%f}"],
            r"x/[\d-]+/[\d-]+/(0|1)/\d+",
        ),
        (
            [
                *("hydra.sweep.dir=${hydra:runtime.cwd}/${oc.env:WHERE}/${hydra.job.name}", "hydra.job.name=mine"),
                "hydra.sweep.subdir=${hydra.job.num}_${hydra:job.id}/${hydra:runtime.choices.data},${run_name:}",
            ],
            r"a=b,c/mine/(0_0|1_1)/synthetic,v1~.*",
        ),
        (["hydra.sweep.dir=x", EXCLUDED, "hydra.sweep.subdir=${hydra.job.override_dirname}"], r"x/seed=(0|1)"),
    ],
)
def test_jobs_use_the_folders_that_the_sweep_has_resolved(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], folders: str
) -> None:
    monkeypatch.setenv("WHERE", "a=b,c")
    sweep("seed=0,1", *options)
    assert len({job.folder for job in sweep.jobs}) == 2
    monkeypatch.setenv("WHERE", "elsewhere")
    for job, arguments in zip(sweep.jobs, sweep.arguments, strict=True):
        assert re.fullmatch(folders, str(job.folder.relative_to(tmp_path)))
        hydra = composed_by_itself(arguments)
        assert hydra.run.dir == str(job.folder)
        assert (hydra.job.num, hydra.job.id) == (job.number, str(job.number))


def test_a_sweep_by_the_clock_trains_where_it_looks(tmp_path: Path) -> None:
    """For real: the job starts at another time, and its result is where the sweep looks for it."""
    done = ended(
        started(
            tmp_path,
            *("-m", *TINY, EXCLUDED, "seed=0", f"hydra.sweep.dir={tmp_path}/${{now:%f}}"),
            "hydra.sweep.subdir=${now:%f}/${hydra.job.override_dirname}",
        )
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.parent.name for path in tmp_path.glob("*/*/*/result.json")) == ["seed=0"]
    assert not (tmp_path / "multirun_outputs").exists()


def test_two_runs_in_one_folder_are_refused(sweep: Sweep, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    said = sweep("data.root=a,b", "seed=0,1")
    assert "two runs would share the folder" in said
    assert "data.root=a and data.root=b" in said
    assert "conf/data/NAME.yaml" in said
    assert "resume is not part of a run's name" in sweep("resume=auto,never")
    for options, key in (
        (["hydra.sweep.subdir=s${seed}", "optimizer.lr=0.1,0.2"], "${optimizer.lr}"),
        (["hydra.sweep.subdir=${seed}", "+recipe=v1,r00_baseline"], "${run_name:}"),
    ):
        said = sweep(*options)
        assert f"Let hydra.sweep.subdir hold {key}" in said
    assert not list(tmp_path.glob("**/seed=*"))


def test_jobs_that_are_one_run_are_named(sweep: Sweep) -> None:
    said = sweep("log.every_steps=1,5", "seed=0,1")
    assert said.count("log.every_steps=5: the same run as log.every_steps=1, done once") == 2
    assert "v1 seed=0: listed twice, done once" in sweep("optimizer.lr=0.1,0.10")


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (["+recipe=glob(zz*)"], "+recipe=glob(zz*) names nothing to sweep over: there are ffcv_16"),
        (["seed=range(3,3)"], "seed=range(3,3) names nothing to sweep over"),
        (["+recipe=glob(zz*)", "hydra.sweeper.max_batch_size=2"], "+recipe=glob(zz*) names nothing to sweep over"),
        (['hydra.sweeper.params={ema: "glob(zz*)"}'], "ema=glob(zz*) names nothing to sweep over: there are ema, none"),
        (["hydra.sweep.dir=a,b", "hydra.launcher.jobs=1,2"], "cannot be swept over"),
    ],
)
def test_a_sweep_over_nothing_is_refused(sweep: Sweep, options: list[str], fragment: str) -> None:
    assert fragment in sweep(*options)
    assert not sweep.jobs


@pytest.mark.parametrize("params", ['hydra.sweeper.params={seed: "3,4"}', '+hydra.sweeper.params.seed="3,4"'])
def test_the_sweeper_s_own_values(sweep: Sweep, params: str) -> None:
    sweep(params)
    assert [job.plan.config.seed for job in sweep.jobs] == [3, 4]


@pytest.mark.parametrize("asked", [["-m"], ["--multirun"], ["hydra.mode=MULTIRUN"], ["-m", "hydra/launcher=basic"]])
def test_a_sweep_under_torchrun_is_refused(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: list[str]
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["train.py", *TINY, *asked, "seed=0,1"])
    with pytest.raises(SystemExit, check=lambda end: end.code == 2):
        main()
    assert "python train.py -m … instead of torchrun" in capsys.readouterr().err
    assert not sweep.jobs


def test_what_a_scheduler_says_of_ranks_is_not_for_a_sweep_s_jobs(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    sweep("seed=0,1")
    assert len(sweep.jobs) == 2
    assert not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} & set(os.environ)
