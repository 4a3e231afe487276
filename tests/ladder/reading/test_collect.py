"""Every run below a folder is found, and one that cannot be used has its reason."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import write_run

from recipe.errors import RunError
from recipe.ladder.comparing.compare import compare
from recipe.ladder.reading.collect import collect
from recipe.plan.compose import Plan
from recipe.plan.published import NOTHING
from recipe.run.run import train

PROJECT = Path(__file__).resolve().parents[3]


def problems(root: Path) -> dict[str, str | None]:
    return {run.folder.relative_to(root).as_posix(): run.problem for run in collect([root])}


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_finished_run_is_read(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "deep" / "outputs", "v2", 3, 61.5, differences={"scale": "demo"}, best=62.0)
    (run,) = collect([tmp_path])
    assert (run.folder, run.name, run.recipe, run.unit) == (folder, "v2~scale=demo", "v2", (3, None))
    assert run.problem is None
    assert run.result is not None
    assert run.result["acc1"] == 61.5
    assert collect([folder]) == [run]  # a run folder itself


def test_every_unusable_run_has_its_reason(tmp_path: Path) -> None:
    write_run(tmp_path, seed=0)
    write_run(tmp_path, seed=1, finished=False)
    (write_run(tmp_path, seed=2) / "result.json").write_text('{"acc1": 5')
    (write_run(tmp_path, seed=3) / "result.json").write_text("[]")
    write_run(tmp_path, seed=4, acc1=None)
    edit(write_run(tmp_path, seed=5) / "result.json", acc1=float("nan"))
    edit(write_run(tmp_path, seed=6) / "result.json", device_seconds=None)
    (write_run(tmp_path, seed=7) / "environment.json").write_text("{")
    (write_run(tmp_path, seed=8) / "environment.json").write_text('{"hashes": {}}')
    edit(write_run(tmp_path, seed=9) / "environment.json", rung={"name": "v2"})
    edit(write_run(tmp_path, seed=10) / "environment.json", config=[])
    (write_run(tmp_path, seed=11) / "environment.json").unlink()
    (write_run(tmp_path, seed=12) / "result.json").write_bytes(b"\xff\xfe\x00")
    own: dict[str, object] = {"parent": None, "index": "9", "chain": ["v2"], "published": {}}
    write_run(tmp_path, seed=13, rung=own)
    write_run(tmp_path, seed=14, rung=own | {"index": 9, "published": {"acc1": "76.1"}})
    edit(write_run(tmp_path, seed=15) / "environment.json", data=["train", "val"])
    write_run(tmp_path, "v1", differences={"max_steps": 3})
    for name in ("console.log", ".lock"):
        (tmp_path / "v2" / f"seed={name}").mkdir()
        (tmp_path / "v2" / f"seed={name}" / name).write_text("")
    found = problems(tmp_path)
    assert found.pop("v2/seed=0") is None
    expected = {
        "v2/seed=1": "not finished",
        "v2/seed=2": "cannot read result.json (",
        "v2/seed=3": "cannot read result.json (not a JSON object)",
        "v2/seed=4": "no accuracy in its result",
        "v2/seed=5": "no accuracy in its result",
        "v2/seed=6": "no device_seconds in its result",
        "v2/seed=7": "cannot read environment.json (",
        "v2/seed=8": "made by another version: no name, differences, ",
        "v2/seed=9": "cannot use environment.json (",
        "v2/seed=10": "cannot use environment.json (",
        **{f"v2/seed={seed}": "cannot use environment.json (" for seed in (13, 14, 15)},
        "v2/seed=11": "no environment.json",
        "v2/seed=12": "cannot read result.json (",
        "v1~max_steps=3/seed=0": "a trial of 3 steps",
        "v2/seed=console.log": "failed before it began",
        "v2/seed=.lock": "failed before it began",
    }
    assert found.keys() == expected.keys()
    for folder, problem in found.items():
        assert problem is not None
        assert problem.startswith(expected[folder]), folder
    compare(collect([tmp_path]))


def test_what_is_no_run_is_passed_over(tmp_path: Path) -> None:
    run = write_run(tmp_path, seed=0)
    for aside in ("seed=0.old-1", "report", "checkpoints", ".hydra"):
        (tmp_path / "v2" / aside).mkdir()
        (tmp_path / "v2" / aside / "environment.json").write_text("{}")
    (run / "inside").mkdir()
    (run / "inside" / "result.json").write_text("{}")
    assert [each.folder for each in collect([tmp_path])] == [run]


def test_run_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    first, again = (write_run(tmp_path / place, seed=0) for place in ("multirun_outputs", "outputs"))
    one, other = collect([tmp_path])
    assert (one.folder, one.problem) == (first, None)
    assert (other.folder, other.problem) == (again, f"the same run as {first}")
    assert len(collect([tmp_path, tmp_path / "outputs", Path(f"{tmp_path}/outputs/../outputs")])) == 2
    write_run(tmp_path / "outputs", seed=1)
    unfinished = write_run(tmp_path / "multirun_outputs", seed=1, finished=False)
    repeated = {run.folder: run.problem for run in collect([tmp_path])}
    assert repeated[unfinished] == f"the same run as {tmp_path / 'outputs' / 'v2' / 'seed=1'}"  # a finished one counts
    elsewhere = write_run(tmp_path / "other_data", seed=0, data={"train": "a", "val": "b"})
    assert {run.folder: run.problem for run in collect([tmp_path])}[elsewhere] is None


def test_fold_is_part_of_the_unit(tmp_path: Path) -> None:
    for fold in range(3):
        write_run(tmp_path, "v2", 0, 50.0 + fold, fold=fold, folds=3, differences={"scale": "demo"})
    runs = collect([tmp_path])
    assert [run.unit for run in runs] == [(0, 0), (0, 1), (0, 2)]
    assert {run.name for run in runs} == {"v2~data.folds=3,scale=demo"}


def test_nothing_to_read_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no runs in "):
        collect([tmp_path])
    with pytest.raises(RunError, match=r"nowhere is no folder"):
        collect([tmp_path / "nowhere"])


def test_real_run_is_read(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """What training writes is what a report reads."""
    small = ["scale=demo", "scale.resolution=0.0715", "data=synthetic", "data.size=64", "data.workers=0"]
    composed = plan("+recipe=r01_lr_optimizations", *small, "model.name=shufflenet_v2_x0_5", "epochs=1", "seed=2")
    train(replace(composed, folder=tmp_path / composed.name / "seed=2"))
    (run,) = collect([tmp_path])
    assert (run.problem, run.recipe, run.unit, run.name) == (None, "r01_lr_optimizations", (2, None), composed.name)
    (comparison,) = compare([run])
    (row,) = comparison.rows
    result = json.loads((tmp_path / composed.name / "seed=2" / "result.json").read_text())
    assert (row.acc1, row.images, row.best_acc1) == ([result["acc1"]], 64, result["best"]["acc1"])
    assert row.device_hours == pytest.approx(result["device_seconds"] / 3600)
    assert row.published == NOTHING  # other values than the rung's
    follows = ("data", "scale", "resolution.train_crop", "resolution.val_crop", "resolution.val_resize")
    assert comparison.common == {"data": "synthetic", "scale": "demo (resolution=0.0715)"} | {
        key: value for key, value in composed.differences.items() if key not in follows
    }
    assert (comparison.images, len(comparison.classes)) == (16, 10)
    synthetic = json.loads((write_run(tmp_path / "synthetic") / "environment.json").read_text())
    assert synthetic.keys() == run.environment.keys()  # the tests' run folders are as real ones
    assert synthetic["rung"].keys() == run.environment["rung"].keys()
    assert run.environment["config"].keys() <= synthetic["config"].keys()


def test_pytorch_is_not_imported(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, "v1", seed, 50.0 + seed)
        write_run(tmp_path, "v2", seed, 52.0 + seed)
    script = (
        "import sys; from recipe.__main__ import main; main(); "
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    command = [sys.executable, "-c", script, "report", str(tmp_path), "--no-figures"]
    subprocess.run(command, cwd=PROJECT, check=True, timeout=60)
