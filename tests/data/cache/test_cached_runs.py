"""Whole runs with data.cache=memory: over two ranks, stopped and resumed, side by side in a sweep, from one file."""

import os
import signal
from pathlib import Path

import pytest
import torch
from conftest import PHOTO_RUN
from photos import CLASSES, save_photos
from processes import ended, started, when
from safetensors.torch import load_file

CACHE = "data.cache=memory"


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run on a few photos, with memory of its own."""
    for split, count in (("train", 16), ("val", 7)):
        for label, name in enumerate(CLASSES):
            save_photos(tmp_path / "data" / split / name, label, count)
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("RECIPE_SHM", str(tmp_path / "shm"))
    return ["+recipe=v2", *PHOTO_RUN, "data.workers=1", f"data.root={tmp_path / 'data'}"]


def in_memory(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "shm" / f"recipe-ladder-{os.getuid()}").iterdir())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.rglob("model.safetensors")
    return load_file(path)


@pytest.mark.slow
def test_two_ranks_stopped_and_resumed_end_with_the_weights_of_a_run_without(
    arguments: list[str], tmp_path: Path
) -> None:
    plain, cached = tmp_path / "plain", tmp_path / "cached"
    assert ended(started(plain, *arguments, processes=2)).returncode == 0
    first = started(cached, *arguments, CACHE, processes=2)
    when(lambda: any("epoch" in path.read_text() for path in cached.rglob("metrics.jsonl")), first)
    os.kill(first.pid, signal.SIGTERM)
    assert "Stopped" in ended(first).stderr
    assert not in_memory(tmp_path)
    again = ended(started(cached, *arguments, CACHE, processes=2))
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("data.cache=memory: decoding 69 images") == 1
    assert "going on from the checkpoint" in again.stdout
    assert not in_memory(tmp_path)
    one, other = weights(plain), weights(cached)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_jobs_of_a_sweep_decode_once(arguments: list[str], tmp_path: Path) -> None:
    sweep = ended(started(tmp_path, "-m", *arguments, CACHE, "seed=0,1,2", "hydra.launcher.jobs=1", "epochs=1"))
    assert sweep.returncode == 0, sweep.stderr + sweep.stdout
    consoles = [path.read_text() for path in tmp_path.rglob("console.log")]
    assert len(consoles) == 3
    assert sum("decoding 69 images" in text for text in consoles) == 1
    assert sum("decoded by another process" in text for text in consoles) == 2
    assert not in_memory(tmp_path)
