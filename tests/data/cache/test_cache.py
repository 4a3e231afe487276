"""data.cache=memory changes no bit; its file is made once, shared, gone with its last user, and refused in time."""

import fcntl
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading import assert_same, make_config, micro_batches, ranks_of
from photos import CLASSES, encoded, orientation, photo, save_photos
from PIL import Image

from recipe.config import AugmentConfig, Config, DataConfig, ResolutionConfig, SamplerConfig
from recipe.data.cache import room
from recipe.data.cache.images import CachedImages
from recipe.data.cache.opening import in_memory
from recipe.data.dataset import load
from recipe.data.loader import eval_batches
from recipe.errors import DataError
from recipe.machine import shared_files


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of files in memory, of this test alone."""
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("RECIPE_SHM", str(tmp_path / "shm"))
    return tmp_path / "shm" / f"recipe-ladder-{os.getuid()}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images of many kinds: grey, CMYK, PNG, 16 bits, with transparency, turned, cut off, no image at all."""
    for split in ("train", "val"):
        for label, name in enumerate(CLASSES):
            save_photos(tmp_path / "data" / split / name, label, 7)
        folder = tmp_path / "data" / split / CLASSES[0]
        (folder / "grey.jpg").write_bytes(encoded(photo().convert("L"), "JPEG"))
        (folder / "cmyk.jpg").write_bytes(encoded(photo().convert("CMYK"), "JPEG"))
        (folder / "alpha.png").write_bytes(encoded(photo().convert("RGBA"), "PNG"))
        (folder / "turned.jpg").write_bytes(encoded(photo(70, 40), "JPEG", exif=orientation(6)))
        deep = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50)
        (folder / "deep.png").write_bytes(encoded(Image.fromarray(deep), "PNG"))
        (folder / "cut.jpg").write_bytes(encoded(photo(), "JPEG")[:900])
        (folder / "none.jpg").write_bytes(b"no image")
    return tmp_path / "data"


def config_of(root: Path, **keys: Any) -> Config:
    data = DataConfig(name="imagefolder", root=str(root), on_corrupt="skip", workers=0, cache="memory")
    return replace(make_config(), data=replace(data, **keys))


CASES = [
    *(("random_resized", how, exif, 1) for how in ("nearest", "bilinear", "bicubic") for exif in (False, True)),
    ("resize_random", "bilinear", True, 1),
    ("random_resized", "bilinear", False, 4),
]


@pytest.mark.parametrize(("crop", "interpolation", "exif", "repetitions"), CASES)
def test_no_bit_changes(root: Path, crop: str, interpolation: str, exif: bool, repetitions: int) -> None:
    config = replace(
        config_of(root, exif_orientation=exif, workers=1),
        augment=AugmentConfig(policy="ta_wide", random_erase=0.5, crop=crop),
        resolution=ResolutionConfig(train_crop=24, val_resize=30, val_crop=24, interpolation=interpolation),
        sampler=SamplerConfig(repetitions=repetitions),
    )
    train, val = load(config.data)
    with in_memory(config.data, (train, val), ranks_of()) as (cached, cached_val):
        assert isinstance(cached, CachedImages)
        assert len(cached.decoded) == len(train) + len(val) - 4
        expected, found = (micro_batches(config, dataset=images) for images in (train, cached))
        for address, batch in expected.items():
            assert batch.unreadable == found[address].unreadable
            assert batch.guessed == found[address].guessed
        plain = {key: batch._replace(unreadable=(), guessed=()) for key, batch in expected.items()}
        assert_same({key: batch._replace(unreadable=(), guessed=()) for key, batch in found.items()}, plain)
        both = (eval_batches(images, config, ranks_of(), 30, 24) for images in (val, cached_val))
        for own, other in zip(*both, strict=True):
            assert torch.equal(own.images, other.images)
            assert torch.equal(own.indices, other.indices)
            assert own[3:] == other[3:]


def test_pixels_come_from_memory_and_not_from_files(root: Path) -> None:
    config = config_of(root)
    with in_memory(config.data, load(config.data), ranks_of()) as (cached, _):
        index = next(i for i in range(len(cached)) if cached.name(i).endswith("3.jpg"))
        before = cached.open(index).whole().clone()
        (root / "train" / cached.name(index)).write_bytes(b"")
        assert torch.equal(cached.open(index).whole(), before)


def test_unreadable_images_are_told_as_without(root: Path) -> None:
    config = config_of(root)
    train, val = load(config.data)
    with in_memory(config.data, (train, val), ranks_of()) as (cached, _):
        index = next(i for i in range(len(train)) if train.name(i).endswith("none.jpg"))
        errors = []
        for images in (train, cached):
            with pytest.raises(DataError) as caught:
                images.open(index).whole()
            errors.append(str(caught.value))
        assert errors[0] == errors[1]


def test_folds_share_one_file_and_a_changed_image_another(root: Path, memory: Path) -> None:
    def files(config: Config) -> set[str]:
        with in_memory(config.data, load(config.data), ranks_of()):
            return {path.name for path in memory.iterdir()}

    folds = [files(config_of(root, folds=3, fold=fold)) for fold in range(3)]
    assert folds[0] == folds[1] == folds[2]
    assert len(folds[0]) == 1
    image = root / "train" / CLASSES[1] / "1.jpg"
    content = image.read_bytes()
    image.write_bytes(content[:-3] + b"\0" + content[-2:])  # of the same size
    os.utime(image, ns=(1, 1))
    assert files(config_of(root, folds=3, fold=0)) != folds[0]
    assert files(config_of(root, folds=3, fold=0, exif_orientation=True)) != files(config_of(root, folds=3, fold=0))


def use(root: Path, ready: "multiprocessing.Queue[str]", seconds: float) -> None:
    config = config_of(root)
    with in_memory(config.data, load(config.data), ranks_of()) as (cached, _):
        assert isinstance(cached, CachedImages)
        ready.put(cached.said)
        time.sleep(seconds)


def started(root: Path, count: int, seconds: float) -> tuple[list[SpawnProcess], list[str]]:
    context = multiprocessing.get_context("spawn")
    ready = context.Queue()
    processes = [context.Process(target=use, args=(root, ready, seconds)) for _ in range(count)]
    for process in processes:
        process.start()
    return processes, [ready.get(timeout=100) for _ in processes]


def test_several_processes_decode_once_and_the_last_removes_it(root: Path, memory: Path) -> None:
    processes, said = started(root, 3, 3.0)
    assert sum("by another process" in line for line in said) == 2
    assert len(list(memory.iterdir())) == 1
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert not list(memory.iterdir())


def test_what_a_killed_process_left_is_taken_or_removed(root: Path, memory: Path) -> None:
    (process,), _ = started(root, 1, 600)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(60)
    (left,) = memory.iterdir()
    (memory / "other.pixels").write_bytes(b"of another data set")
    config = config_of(root)
    with in_memory(config.data, load(config.data), ranks_of()) as (cached, _):
        assert isinstance(cached, CachedImages)
        assert "by another process" in cached.said
        assert list(memory.iterdir()) == [left]
    assert not list(memory.iterdir())


def test_a_file_that_was_not_finished_is_made_again(root: Path, memory: Path) -> None:
    config = config_of(root)
    with in_memory(config.data, load(config.data), ranks_of()):
        (path,) = memory.iterdir()
    path.write_bytes(bytes(5000))
    with in_memory(config.data, load(config.data), ranks_of()) as (cached, _):
        assert isinstance(cached, CachedImages)
        assert "decoded in" in cached.said


def test_files_stay_while_a_sweep_runs(root: Path, memory: Path) -> None:
    config = config_of(root)
    with shared_files.kept_for_a_sweep(True):
        with in_memory(config.data, load(config.data), ranks_of()):
            pass
        assert len(list(memory.glob("*.pixels"))) == 1
    assert not list(memory.iterdir())


def test_a_killed_sweep_keeps_nothing(root: Path, memory: Path) -> None:
    memory.mkdir(mode=0o700)
    (memory / f"1{shared_files.SWEEP}").write_bytes(b"")  # no process holds it
    config = config_of(root)
    with in_memory(config.data, load(config.data), ranks_of()):
        pass
    assert not list(memory.iterdir())


def test_what_does_not_fit_is_refused_with_what_would(
    root: Path, memory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shared_files, "free_in", lambda place: 200_000)
    config = config_of(root)
    what = r"decoded images take about .*RECIPE_SHM=FOLDER .*data\.cache=null"
    with pytest.raises(DataError, match=what), in_memory(config.data, load(config.data), ranks_of()):
        pass
    assert "decoding" not in capsys.readouterr().out
    assert not list(memory.iterdir())
    monkeypatch.setattr(room.Estimate, "bytes", lambda self, largest=0: 1)  # more than had been estimated
    with pytest.raises(DataError, match=r"data\.cache=null"), in_memory(config.data, load(config.data), ranks_of()):
        pass
    assert not list(memory.iterdir())


def test_nothing_is_made_without_it(root: Path, memory: Path) -> None:
    config = config_of(root, cache=None)
    sets = load(config.data)
    with in_memory(config.data, sets, ranks_of()) as found:
        assert found is sets
    assert not memory.exists()


def test_a_lock_of_another_process_is_waited_for(root: Path, memory: Path) -> None:
    config = config_of(root)
    with in_memory(config.data, load(config.data), ranks_of()):
        (path,) = memory.iterdir()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    processes = [multiprocessing.get_context("spawn").Process(target=wait_and_use, args=(root,))]
    processes[0].start()
    time.sleep(8)
    assert processes[0].is_alive()
    os.close(descriptor)
    processes[0].join(60)
    assert processes[0].exitcode == 0


def wait_and_use(root: Path) -> None:
    config = config_of(root)
    with in_memory(config.data, load(config.data), ranks_of()):
        pass
