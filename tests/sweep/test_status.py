"""`recipe status` and dry runs: of a real sweep while it runs, killed, failed and finished; and of folders at hand."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import ended, killed, started, when
from synthetic import write_run

from recipe.files import CONSOLE, LOCK, lock
from recipe.plan.compose import PROJECT, Plan
from recipe.sweep import record
from recipe.sweep.jobs import Job
from recipe.sweep.record import SweepRecord
from recipe.sweep.status import RunStatus, Status, status
from recipe.sweep.status_text import lines

SWEEP = (
    *("scale=demo", "scale.resolution=0.0715", "log.images=false", "data.workers=0", "data=synthetic", "data.size=64"),
    *("batch_size=32", "micro_batch_size=16", "log.every_steps=1", "+recipe=v1", "epochs=400", "schedule=cosine"),
    *("model.name=shufflenet_v2_x0_5,alexnet", "evaluate.every=2", "hydra.launcher.jobs=1"),  # one takes no such size
)


def told(outputs: Path, *arguments: str) -> dict[str, Any]:
    """What `recipe status --json` says, in a process of its own."""
    command = [sys.executable, "-m", "recipe", "status", str(outputs / "multirun_outputs"), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1] if "--watch" in arguments else done.stdout)
    return found


def states(said: dict[str, Any]) -> dict[str, int]:
    return {state: number for state, number in said["counts"].items() if number}


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_sweep_is_seen_from_outside_while_it_runs_and_after(tmp_path: Path) -> None:
    dry = ended(started(tmp_path, "-m", "seed=0,1", *SWEEP, "hydra.launcher.dry_run=true"))
    assert dry.returncode == 0, dry.stderr
    assert "4 jobs: 4 would train, 0 finished before" in dry.stdout
    assert "unknown for 4 trainings: no run of that model has finished here" in dry.stdout
    assert not list(tmp_path.iterdir())

    sweep = started(tmp_path, "-m", "seed=0,1", *SWEEP)
    logs = tmp_path / "multirun_outputs"
    when(lambda: any("val/acc1" in log.read_text() for log in logs.glob("*/*/metrics.jsonl")), sweep)
    said = told(tmp_path)
    assert states(said) == {"running": 1, "waiting": 3}
    assert said["launchers"][0]["pid"] == sweep.pid
    (run,) = [run for run in said["runs"] if run["state"] == "running"]
    assert "shufflenet" in run["title"]
    assert run["host"] == socket.gethostname()
    assert Path(f"/proc/{run['pid']}/cmdline").read_text().split("\0")[1].endswith("train.py")
    assert (run["epochs"], run["devices"]) == (400, "cpu")
    assert run["images_per_second"] > 0
    assert 0 <= run["accuracy"] <= 100
    left = (400 - run["epoch"]) * 64 / run["images_per_second"]
    assert left < run["seconds_left"] < 3 * left

    os.kill(run["pid"], signal.SIGKILL)
    when(lambda: states(told(tmp_path)).get("failed") == 1, sweep)
    (failed,) = [run for run in told(tmp_path)["runs"] if run["state"] == "failed"]
    assert failed["why"].startswith("killed by signal 9: epoch ")
    when(lambda: states(told(tmp_path)).get("failed") == 2, sweep)  # alexnet
    assert any("does not take images of 16 px" in str(run["why"]) for run in told(tmp_path)["runs"])
    killed(sweep)
    deadline = time.monotonic() + 30
    while states(said := told(tmp_path)) != {"failed": 2, "stopped": 2}:
        assert time.monotonic() < deadline, said
    assert said["launchers"] == []

    before = files(tmp_path)
    dry = ended(started(tmp_path, "-m", "seed=0,1", *SWEEP, "hydra.launcher.dry_run=true", "hydra.launcher.rate=64"))
    assert files(tmp_path) == before
    assert "would go on" in dry.stdout
    assert "resume   v1 model.name=shufflenet_v2_x0_5" in dry.stdout
    assert "6.7 device-minutes" in dry.stdout  # 400 epochs of 64 images


@pytest.mark.slow
def test_a_sweep_that_has_finished_is_estimated_by_its_own_rate(tmp_path: Path) -> None:
    short = [text.replace("400", "2").replace(",alexnet", "") for text in SWEEP]
    assert ended(started(tmp_path, "-m", *short, "seed=0,1")).returncode == 0
    said = told(tmp_path, "--watch")  # it ends by itself
    assert states(said) == {"finished": 2}
    assert [run["pid"] for run in said["runs"]] == [None, None]
    written = files(tmp_path / "multirun_outputs")
    assert ended(started(tmp_path, "-m", *short, "seed=0,1")).returncode == 0
    again = files(tmp_path / "multirun_outputs")
    assert {path.name for path in again if again[path] != written.get(path)} <= {"multirun.yaml", "multirun_outputs"}

    dry = ended(started(tmp_path, "-m", *short, "seed=0,1,2", "hydra.launcher.dry_run=true"))
    assert "3 jobs: 1 would train, 2 finished before" in dry.stdout
    rates = []
    for path in (tmp_path / "multirun_outputs").glob("*/*/result.json"):
        result = json.loads(path.read_text())
        rates.append(result["images_seen"] / result["device_seconds"])
    expected = [f"{128 / rate / 60:.1f} device-minutes (rate as earlier runs here)" for rate in rates]
    assert any(f"estimated  {text}" in dry.stdout for text in expected), (expected, dry.stdout)


@pytest.mark.parametrize("how", [signal.SIGINT])
def test_watching_ends_cleanly(tmp_path: Path, how: signal.Signals) -> None:
    folder = write_run(tmp_path, finished=False)
    holder = hold(folder / LOCK)
    watching = subprocess.Popen(
        [sys.executable, "-m", "recipe", "status", str(tmp_path), "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    assert watching.stdout is not None
    assert "1 running" in watching.stdout.readline()
    watching.send_signal(how)
    assert ended(watching, 20).returncode == 0
    watching = subprocess.Popen(watching.args, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert watching.stdout is not None
    assert "1 running" in watching.stdout.readline()
    holder.kill()
    holder.wait()
    done = ended(watching, 20)
    assert done.returncode == 0
    assert "1 stopped" in done.stdout


def hold(path: Path) -> "subprocess.Popen[str]":
    """A process that holds a run's folder."""
    code = f"import time; from pathlib import Path; from recipe.files import lock; f = lock(Path({str(path)!r})); "
    holder = subprocess.Popen(
        [sys.executable, "-c", code + "print('held', flush=True); time.sleep(200)"], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_hundred_runs_take_less_than_a_second_without_torch(tmp_path: Path) -> None:
    for seed in range(100):
        write_run(tmp_path, seed=seed, predictions=False, finished=seed % 10 > 0)
    code = (
        "import sys, time; from recipe.__main__ import main; sys.argv = ['recipe', 'status', sys.argv[1]]; main(); "
        "assert 'torch' not in sys.modules; print(time.process_time())"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    seconds = []
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=PROJECT, check=True)
        assert "100 runs: 90 finished · 10 stopped" in done.stdout
        seconds.append(float(done.stdout.splitlines()[-1]))
    assert min(seconds) < 1.0


def test_runs_without_a_sweep_s_record(tmp_path: Path, recipe: Callable[..., int], capsys: Any) -> None:
    """Runs one by one, or of an earlier version: what their folders tell."""
    assert recipe("status", tmp_path) == 2
    assert "no runs in" in capsys.readouterr().err
    stopped, failed, empty = (write_run(tmp_path, seed=seed, finished=False) for seed in range(3))
    (stopped / CONSOLE).write_text("epoch 1\nStopped in epoch 2, and saved. The same command goes on from there.\n")
    (failed / CONSOLE).write_text("epoch 1\nError: the disk is full\n")
    found = {run.folder: run for run in status([tmp_path]).runs}
    assert [found[str(folder)].state for folder in (stopped, failed, empty)] == ["stopped", "failed", "stopped"]
    assert found[str(failed)].why == "Error: the disk is full"
    assert found[str(stopped)].epoch == 1


@pytest.fixture
def job(plan: Callable[..., Plan], tmp_path: Path) -> Callable[[int], Job]:
    from dataclasses import replace

    planned = plan("+recipe=v1", "scale=demo", "data=synthetic")
    return lambda seed: Job((), replace(planned, folder=tmp_path / "v1" / f"seed={seed}"))


def test_records_say_what_waits_and_are_no_more_than_needed(tmp_path: Path, job: Callable[[int], Job]) -> None:
    jobs = [job(seed) for seed in range(3)]
    first = SweepRecord(tmp_path)
    first.add(jobs[:2], "torchrun")
    first.note(jobs[0], state="failed", why="exit code 3")
    assert states(status([tmp_path]).as_json()) == {"waiting": 1, "failed": 1}
    second = SweepRecord(tmp_path)
    second.add(jobs, "torchrun")
    assert len(list(record.read(tmp_path))) == 2  # the first still lives
    first._held.close()  # type: ignore[union-attr]
    about = json.loads((path := next((tmp_path / record.FOLDER).glob("*.json"))).read_text())
    path.write_text(json.dumps({**about, "pid": 2**22 + 1}))
    third = SweepRecord(tmp_path)
    third.add(jobs, "torchrun")
    assert path not in [each.path for each in record.read(tmp_path)]


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jobs in `.slurm/jobs.jsonl`, and no controller that answers."""
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "no.conf"))
    folder = write_run(tmp_path, finished=False)
    (tmp_path / ".slurm").mkdir()
    line = {"job_id": "7_0", "folders": [str(folder)], "submitted": "2026-11-27T15:00:00+0000", "log": "x", "task": "x"}
    (tmp_path / ".slurm" / "jobs.jsonl").write_text(json.dumps(line) + '\n{"job_id": "8')  # cut off
    return folder


def test_a_queue_that_does_not_answer_is_one_line(squeue: Path, tmp_path: Path) -> None:
    found = status([tmp_path])
    assert len(found.notices) == 1
    assert "squeue" in found.notices[0]
    assert "\n" not in found.notices[0]
    assert (found.runs[0].slurm_job, found.runs[0].state) == ("7_0", "queued")


@pytest.mark.parametrize(
    ("outcome", "state"), [("requeued", "queued"), ("failed", "failed"), ("left to Slurm", "stopped")]
)
def test_without_squeue_a_job_s_own_word_counts(
    squeue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str, state: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = {"job_id": "9_0", "folders": [str(squeue)], "task": str(tmp_path / "task")}
    (tmp_path / ".slurm" / "jobs.jsonl").write_text(json.dumps(line))
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "outcome.json").write_text(json.dumps({"state": outcome, "why": "the disk is full"}))
    found = status([tmp_path])
    assert found.runs[0].state == state
    assert ["this machine has no squeue" in notice for notice in found.notices] == [True]


def test_text_fits_its_columns() -> None:
    runs = [
        RunStatus(f"f{seed}", f"v2 {'model.name=efficientnet ' * 4}seed={seed}", "running", 3, 600, 12345.6, 71.2, 7300)
        for seed in range(40)
    ]  # fmt: skip
    for run in runs:
        run.host, run.pid, run.devices = "node17.cluster", 12345, "GPU 0,1"
    runs.append(RunStatus("f", "v1 " * 60, "failed", why="exit code 2: " + "x" * 300))
    for width, height in ((80, 24), (140, 30)):
        text = lines(Status(runs), width, height)
        assert max(map(len, text)) <= width
        assert len(text) <= height
        assert "40 running" in " ".join(text)
    wide = lines(Status(runs), 140)
    assert "seed=39" in wide[-3]
    assert "GPU 0,1" in wide[-3]
    assert "2:02 h" in wide[-3]


def test_a_lock_of_another_process_tells_who_holds_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path, finished=False)
    holder = hold(folder / LOCK)
    (run,) = status([tmp_path]).runs
    assert (run.state, run.pid, run.host) == ("running", holder.pid, socket.gethostname())
    holder.kill()
    holder.wait()
    assert status([tmp_path]).runs[0].state == "stopped"
    with lock(folder / LOCK) or open(os.devnull):
        pass
