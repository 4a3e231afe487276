"""Whole trainings from every format end with the weights of the folder's, to the last bit: on two ranks, killed once
and resumed. Where images lie is in no name and no hash.
"""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import CLASSES, files_of, folders, labelled, shards, zipped
from durable_runs import EACH_STEP, RUN
from processes import assert_same_ending, children, ended, rank_of, started, steps_logged, when

from recipe.plan.compose import Plan

KEYS = tuple(key for key in RUN if not key.startswith("data"))


def as_shards(source: Path, target: Path) -> Path:
    """Three shards a split, of class folders."""
    for part in ("train", "val"):
        shards(target / part, files_of(source / part))
    return target


def as_samples(source: Path, target: Path) -> Path:
    """WebDataset's samples, images beside their labels, and a list of classes."""
    classes = CLASSES[::-1]
    for part in ("train", "val"):
        shards(target / part, labelled(source / part, "cls", classes))
    (target / "classnames.txt").write_text("\n".join(classes))
    return target


def as_zip(source: Path, target: Path) -> Path:
    """One zip of all."""
    return zipped(target.with_suffix(".zip"), files_of(source))


FORMATS = {"shards": as_shards, "samples": as_samples, "zip": as_zip}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders(tmp_path_factory.mktemp("photos") / "folders", train=86, val=8)


def run(folder: Path, root: Path, *more: str) -> tuple[str, ...]:
    return (*KEYS, "data=imagefolder", f"data.root={root}", f"hydra.run.dir={folder}", *more)


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder's run, which nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = ended(started(folder.parent, *run(folder, photos, "data.workers=1"), processes=2))
    assert done.returncode == 0, done.stderr
    return folder


def lies_where(folder: Path, root: Path) -> None:
    """Let a result say that its images lay here: all else in it is to be the same."""
    path = folder / "result.json"
    result = json.loads(path.read_text())
    assert result["data_root"] != str(root)
    path.write_text(json.dumps({**result, "data_root": str(root)}))


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_weights_are_the_folder_s_after_a_kill_and_a_resume(
    whole: Path, photos: Path, tmp_path: Path, format: str
) -> None:
    root, folder = FORMATS[format](photos, tmp_path / "archives"), tmp_path / "run"
    process = started(tmp_path, *run(folder, root, "data.workers=2", EACH_STEP), processes=2)
    when(lambda: steps_logged(folder) >= 6, process)
    (rank_1,) = (pid for pid in children(process) if rank_of(pid) == 1)
    os.kill(rank_1, signal.SIGKILL)
    assert ended(process).returncode != 0
    done = ended(started(tmp_path, *run(folder, root, "data.workers=1"), processes=2))
    assert done.returncode == 0, done.stderr
    assert "going on from the checkpoint" in done.stdout
    assert "read from" in done.stdout
    lies_where(folder, photos)
    assert_same_ending(whole, folder)


@pytest.mark.slow
def test_run_begun_in_a_folder_goes_on_from_a_zip(whole: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = started(tmp_path, *run(folder, photos, "data.workers=2", EACH_STEP), processes=2)
    when(lambda: steps_logged(folder) >= 6, process)
    os.kill(process.pid, signal.SIGTERM)
    ended(process)
    zip_of_all = as_zip(photos, tmp_path / "archives")
    done = ended(started(tmp_path, *run(folder, zip_of_all, "data.workers=1", "data.cache=memory"), processes=2))
    assert done.returncode == 0, done.stderr
    assert "going on from the checkpoint" in done.stdout
    lies_where(folder, photos)
    assert_same_ending(whole, folder)


def test_where_images_lie_is_in_no_name_and_no_hash(plan: Callable[..., Plan], photos: Path, tmp_path: Path) -> None:
    roots = [photos, *(make(photos, tmp_path / name) for name, make in FORMATS.items())]
    plans = [plan(*KEYS, "data=imagefolder", f"data.root={root}") for root in roots]
    plans.append(
        plan(*KEYS, "data=imagefolder", f"data.root={roots[1]}/train/{{000000..000002}}.tar", "data.format=tar")
    )
    assert len({(each.name, each.training_hash, each.result_hash) for each in plans}) == 1
