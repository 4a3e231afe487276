"""Every image of an evaluation is loaded once over all ranks; unreadable files are named, or left out if asked."""

from pathlib import Path

import pytest
import torch
from loading import IMAGES, make_config, micro_batches, ranks_of
from PIL import Image

from recipe.data.dataset import load
from recipe.data.folder import ImageFolder, scan_folder
from recipe.data.loader import eval_batches
from recipe.data.micro_batch import Task, load_micro_batches
from recipe.data.transforms import apply_eval
from recipe.errors import DataError


def broken_folder(folder: Path) -> tuple[ImageFolder, Path]:
    for number in range(16):
        path = folder / f"class{number % 2}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 30)).save(path)
    broken = folder / "class1" / "07.png"
    broken.write_bytes(broken.read_bytes()[:40])
    return scan_folder(folder), broken


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_file_is_named(tmp_path: Path, workers: int) -> None:
    dataset, broken = broken_folder(tmp_path)
    with pytest.raises(DataError) as caught:
        micro_batches(make_config(workers), dataset=dataset)
    assert str(caught.value).startswith(f"cannot read the image {broken}")
    assert "data.on_corrupt=skip goes on without them" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError) as caught:
        list(eval_batches(dataset, make_config(workers), ranks_of(), 30, 24))
    assert str(caught.value).startswith(f"cannot read the image {broken}")
    assert "data.on_corrupt=skip goes on without them" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_loads_every_image_once_over_all_ranks(world_size: int, workers: int) -> None:
    config = make_config(workers)
    _, dataset = load(config.data)
    seen = []
    for rank in range(world_size):
        for batch in eval_batches(dataset, config, ranks_of(rank, world_size), 30, 24):
            for image, label, index in zip(batch.images, batch.labels, batch.indices.tolist(), strict=True):
                assert torch.equal(image, apply_eval(dataset.open(index).whole(), 30, 24, "bilinear"))
                assert label == dataset.labels[index]
                seen.append(index)
    assert sorted(seen) == list(range(IMAGES // 4))


def test_evaluation_takes_the_resolution_it_is_given() -> None:
    config = make_config()
    batch = next(eval_batches(load(config.data)[1], config, ranks_of(), 40, 36))
    assert batch.images.shape == (4, 3, 36, 36)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_files_are_skipped_where_asked(tmp_path: Path, workers: int) -> None:
    """In training the next image stands in, with its own label; in an evaluation the others are counted."""
    dataset, broken = broken_folder(tmp_path)
    config = make_config(workers)
    config.data.on_corrupt = "skip"
    name = str(broken.relative_to(dataset.root))
    index = [dataset.name(i) for i in range(len(dataset))].index(name)
    batches = micro_batches(config, dataset=dataset)
    assert {file for batch in batches.values() for file in batch.unreadable} == {name}

    evaluated = list(eval_batches(dataset, config, ranks_of(), 30, 24))
    seen = torch.cat([batch.indices for batch in evaluated]).tolist()
    assert seen == [i for i in range(len(dataset)) if i != index]
    assert all(len(batch.images) == len(batch.labels) == len(batch.indices) for batch in evaluated)
    assert [file for batch in evaluated for file in batch.unreadable] == [name]

    task = Task(0, 0, 0, [5], [index], 1.0)
    instead = Task(0, 0, 0, [5], [(index + 1) % len(dataset)], 1.0)
    ((one,), (other,)) = (load_micro_batches(dataset, config, [each]) for each in (task, instead))
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.labels, other.labels)
