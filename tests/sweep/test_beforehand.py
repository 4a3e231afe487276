"""What a sweep's jobs need from outside is fetched once, before the first of them; whole sweeps in real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from processes import ended, started, when
from weights_server import Server, python_path, serving

from recipe.machine.signals import STOPPED

TINY = (
    *("-m", "+recipe=v1", "scale=demo", "scale.resolution=0.15", "log.images=false", "data.workers=0", "max_steps=1"),
    *("data=synthetic", "data.size=64", "batch_size=32", "micro_batch_size=16", "model.name=shufflenet_v2_x0_5"),
)
WEIGHTS = "model.weights=IMAGENET1K_V1"
IMPORTS_NOTHING = """
import sys
from recipe.config import Config, ModelConfig
from recipe.sweep.beforehand import fetch_once
config = Config()
config.model.name, config.data.name = "resnet18", "synthetic"
fetch_once([config])
assert not {"torch", "torchvision", "timm", "huggingface_hub"} & set(sys.modules)
"""


def sweep(
    outputs: Path, server: Server, patch: pytest.MonkeyPatch, *arguments: str, seeds: int = 2
) -> "subprocess.Popen[str]":
    """A sweep to which the server is torchvision's, with a cache of its own."""
    patch.setenv("PYTHONPATH", python_path(outputs / "site", server.torchvision_file()))
    patch.setenv("TORCH_HOME", str(outputs / "home"))
    return started(outputs, *TINY, f"seed=range({seeds})", *arguments)


def results(outputs: Path) -> int:
    return len(list((outputs / "multirun_outputs").glob("*/seed=*/result.json")))


def test_a_sweep_fetches_once_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        done = ended(sweep(tmp_path, server, monkeypatch, WEIGHTS, f"model.weights_cache={tmp_path / 'shared'}"))
        assert done.returncode == 0, done.stderr
        assert len(server.asked) == 1
    assert results(tmp_path) == 2
    (file,) = (tmp_path / "shared" / "torch" / "hub" / "checkpoints").iterdir()
    assert f"weights shufflenet_v2_x0_5.IMAGENET1K_V1: fetched into {file}" in done.stdout
    assert done.stdout.index("fetched into") < done.stdout.index("started ")
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_fourteen_jobs_make_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        done = ended(sweep(tmp_path, server, monkeypatch, WEIGHTS, seeds=14), timeout=900)
        assert done.returncode == 0, done.stderr
        assert results(tmp_path) == 14
        assert len(server.asked) == 1


@pytest.mark.slow
def test_fourteen_jobs_ask_the_hub_for_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        server.repository("timm/test_resnet.r160_in1k", timm.create_model("test_resnet").state_dict())
        for name, value in {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}.items():
            monkeypatch.setenv(name, value)
        of_timm = ("model.name=test_resnet", "model.source=timm", "model.weights=r160_in1k")
        done = ended(started(tmp_path, *TINY, *of_timm, "seed=range(14)"), timeout=900)
        assert done.returncode == 0, done.stderr
        assert results(tmp_path) == 14
        assert len(server.gets()) == 1
        about_the_file = [path for path in server.asked if "resolve" in path]
        assert len(about_the_file) == 3  # whether it can be reached, what there is, and the file


def test_without_the_file_no_job_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        begun = sweep(tmp_path, server, monkeypatch, WEIGHTS, seeds=14)
        server.files.clear()
        done = ended(begun)
    assert done.returncode == 2
    assert done.stderr.count("404") == 1
    assert "Traceback" not in done.stderr
    assert "started " not in done.stdout
    assert not list((tmp_path / "multirun_outputs").glob("[!.]*/*"))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_sweep_that_is_stopped_as_it_fetches_leaves_no_part(
    how: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as server:
        server.halt_after = 500_000
        begun = sweep(tmp_path, server, monkeypatch, WEIGHTS)
        when(lambda: any((tmp_path / "home").rglob(".*.part")), begun)
        begun.send_signal(how)
        done = ended(begun)
    assert done.returncode == STOPPED, done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_a_sweep_without_weights_imports_nothing_for_it() -> None:
    subprocess.run([sys.executable, "-c", IMPORTS_NOTHING], check=True, timeout=60, env=dict(os.environ))
