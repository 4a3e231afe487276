"""Over many epochs the loader's processes grow no larger, and nothing is left of them."""

import gc
import os
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch

from recipe.config import AugmentConfig, Config, DataConfig, EvaluateConfig, ResolutionConfig, SamplerConfig
from recipe.data.dataset import load
from recipe.data.loader import TrainLoader, eval_batches
from recipe.data.order import make_order
from recipe.machine.distributed import Ranks

EPOCHS = 13
WARM = 3
CROP = 160
IMAGES = 96  # of 77 kB: an epoch's are 7 MB
MOST_GROWTH = 12.0  # MB of a process in the epochs after the warm ones; each worker loads 33 MB in them


@pytest.mark.parametrize(
    ("micro_batch_size", "repetitions"),
    [(4, 1), (16, 4)],  # 16 images are 1.2 MB, and four such micro-batches a task: blocks that glibc's heap would keep
)
def test_loader_holds_its_memory_and_leaves_nothing(micro_batch_size: int, repetitions: int) -> None:
    config = Config(
        epochs=EPOCHS,
        batch_size=4 * micro_batch_size,
        micro_batch_size=micro_batch_size,
        sampler=SamplerConfig(repetitions=repetitions),
        data=DataConfig(name="synthetic", size=IMAGES, num_classes=4, workers=2),
        augment=AugmentConfig(policy="ta_wide", random_erase=0.5),
        resolution=ResolutionConfig(train_crop=CROP, val_resize=CROP, val_crop=CROP),
        evaluate=EvaluateConfig(batch_size=8),
    )
    sets, ranks = load(config.data), Ranks(0, 1, 0, 1, torch.device("cpu"))
    order = make_order(config, len(sets[0]))
    gc.collect()  # of earlier tests
    before = children(), descriptors()
    loader = TrainLoader(sets[0], order, config, ranks, (0, 0))
    workers = children() - before[0]
    assert len(workers) == 2
    of_evaluations: set[int] = set()
    memory: list[dict[int, float]] = []
    for epoch in range(EPOCHS):
        for _, batches in loader.epoch(epoch):
            for micro_batch in batches:
                assert micro_batch.images.shape[1:] == (3, CROP, CROP)
        for eval_batch in eval_batches(sets[1], config, ranks, CROP, CROP):
            assert eval_batch.images.shape[1:] == (3, CROP, CROP)
            of_evaluations |= children() - before[0] - workers
        if epoch + 1 < EPOCHS:  # after the last one the workers have ended
            memory.append({pid: megabytes(pid) for pid in (os.getpid(), *workers)})
    loader.close()
    del batches, micro_batch, eval_batch
    gc.collect()

    assert len(of_evaluations) == 2 * EPOCHS
    assert children() == before[0]
    assert descriptors() <= before[1]
    assert not [name for name in os.listdir("/dev/shm") for pid in workers | of_evaluations if f"_{pid}_" in name]
    growth = {pid: memory[-1][pid] - memory[WARM - 1][pid] for pid in memory[-1]}
    assert max(growth.values()) < MOST_GROWTH, (growth, memory)


def children() -> set[int]:
    return {child.pid for child in active_children() if child.pid is not None}


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def megabytes(pid: int) -> float:
    """A process's share of its memory; without files' pages, which depend on who else has them on this machine."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return (kilobytes["Pss_Anon"] + kilobytes["Pss_Shmem"]) * 1024 / 1e6
