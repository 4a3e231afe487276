"""What tests of the loader load: a small config, and all micro-batches of a training by their address."""

import torch

from recipe.config import AugmentConfig, Config, DataConfig, EvaluateConfig, ResolutionConfig
from recipe.data.dataset import Dataset, load
from recipe.data.loader import TrainLoader
from recipe.data.micro_batch import MicroBatch
from recipe.data.order import make_order
from recipe.machine.distributed import Ranks

IMAGES = 45


Batches = dict[tuple[int, int, int], MicroBatch]


def make_config(workers: int = 0, **keys: object) -> Config:
    config = Config(
        epochs=2,
        batch_size=16,
        micro_batch_size=4,
        data=DataConfig(name="synthetic", size=IMAGES, num_classes=5, workers=workers),
        augment=AugmentConfig(policy="ta_wide", random_erase=0.5),
        resolution=ResolutionConfig(train_crop=24, val_resize=30, val_crop=24),
        evaluate=EvaluateConfig(batch_size=4),
    )
    for name, value in keys.items():
        setattr(config, name, value)
    return config


def ranks_of(rank: int = 0, world_size: int = 1) -> Ranks:
    return Ranks(rank, world_size, rank, world_size, torch.device("cpu"))


def micro_batches(
    config: Config, ranks: Ranks | None = None, start: tuple[int, int] = (0, 0), dataset: Dataset | None = None
) -> Batches:
    dataset = dataset or load(config.data)[0]
    loader = TrainLoader(dataset, make_order(config, len(dataset)), config, ranks or ranks_of(), start)
    found = {}
    for epoch in range(start[0], config.epochs):
        for step, batches in loader.epoch(epoch, start[1] if epoch == start[0] else 0):
            for batch in batches:
                assert batch.step == step
                found[epoch, step, batch.number] = batch._replace(images=batch.images.clone())
    loader.close()
    return found


def assert_same(first: Batches, second: Batches) -> None:
    assert list(first) == list(second)
    for address, batch in first.items():
        for own, other in zip(batch, second[address], strict=True):
            assert torch.equal(torch.as_tensor(own), torch.as_tensor(other)), address
