"""Other recipes at scale=demo: three steps are finite, and a run that was stopped goes on to the same bits."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_training_step import ALONE, CLASSES
from torch import Tensor

from recipe.data import dataset as datasets
from recipe.data.order import make_order
from recipe.machine.signals import StopSignal
from recipe.network.model import make_model
from recipe.plan.compose import Plan
from recipe.run.resume import resume
from recipe.run.trainer import Trainer

NAMES = ("rsb_a1", "rsb_a2", "adan_100", "adan_200", "adan_300", "mlperf_lars", "usi_300")
SMALL = (
    *("scale=demo", "model.source=timm", "model.name=test_resnet", "data=synthetic", "data.size=48", "data.workers=0"),
    *("data.num_classes=10", "batch_size=48", "micro_batch_size=12", "resolution.train_crop=32", "max_steps=3"),
    *("log.images=false", "model.zero_init_residual=true"),
)


def begun(plan: Plan) -> Trainer:
    data = datasets.load(plan.config.data)
    order = make_order(plan.config, len(data[0]), data[0].labels)
    return resume(plan, ALONE, data, order, make_model(plan.config, CLASSES), StopSignal())


@pytest.mark.parametrize("name", ["rsb_a3", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES)])
def test_three_steps_are_finite_and_go_on_to_the_same_bits(
    plan: Callable[..., Plan], tmp_path: Path, name: str
) -> None:
    composed = plan(f"+experiment={name}", *SMALL)
    states: list[dict[str, Tensor]] = []
    for folder, stops in ((tmp_path / "whole", ()), (tmp_path / "stopped", (1, 2))):
        folder.mkdir()
        run = begun(replace(composed, folder=folder))
        assert run.order.steps == 1
        for epoch in range(3):
            if epoch in stops:  # before anything is waited for: what was saved is all that is left
                run.save(epoch - 1, 1)
                run.close()
                run = begun(replace(composed, folder=folder))
                assert (run.progress.epoch, run.progress.step) == (epoch - 1, 1)
            run.train_epoch(epoch)
        run.close()
        states.append(run.training.network.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert all(tensor.isfinite().all() for tensor in states[0].values())
    start = make_model(composed.config, CLASSES).state_dict()
    assert any(not torch.equal(start[key], states[0][key]) for key in start)
