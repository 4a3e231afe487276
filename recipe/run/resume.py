"""Resuming: a run goes on where the newest checkpoint of its folder left it. A new run has none, and begins."""

from typing import Any

from torch import nn

from recipe.data.dataset import Dataset
from recipe.data.order import Order
from recipe.errors import RunError
from recipe.logs.journal import Journal
from recipe.machine.distributed import Agreement, Ranks
from recipe.machine.signals import StopSignal
from recipe.plan.compose import Plan
from recipe.run.checkpoint import load_checkpoint
from recipe.run.parts import build
from recipe.run.progress import RunProgress, restore
from recipe.run.trainer import Trainer, steps_of_run
from recipe.training.meter import TrainMeter


def resume(
    plan: Plan, ranks: Ranks, data: tuple[Dataset, Dataset], order: Order, network: nn.Module, stop: StopSignal
) -> Trainer:
    """Trainer of the plan's run, where the newest checkpoint in its folder left it; at its beginning without one.

    Loads the checkpoint, checks that it is this run's, restores it; starts the data workers, and goes on with the log.
    Every rank calls it. Raises RunError.

    Args:
        data: training and validation set.
        network: with the weights that a new run starts from.
    """
    config, (train_set, val_set) = plan.config, data
    identity = {**plan.hashes, "training set": train_set.fingerprint, "validation set": val_set.fingerprint}
    state, refused = load_checkpoint(plan.folder / "checkpoints")
    progress = RunProgress(**state["progress"]) if state is not None else RunProgress()
    if not ranks.all_equal((progress.epoch, progress.step, identity)):
        raise RunError(
            f"the processes found different checkpoints or different data: {plan.folder} and data.root must be "
            "the same folders on every machine"
        )
    if state is not None:
        _check_identity(state["identity"], identity, plan.former_hashes)
    metrics_bytes = state["metrics_bytes"] if state is not None else 0
    journal = Journal(plan.folder, ranks, metrics_bytes, progress.steps_done(order.steps))
    overflows = config.runtime.precision == "fp16"
    meter = TrainMeter(journal, ranks, order.steps, config.log.every_steps, steps_of_run(config, order), overflows)
    training = build(config, network, train_set, order, ranks, (progress.epoch, progress.step), meter)
    if state is not None:
        restore(state, training)
    return Trainer(plan, data, training, journal, progress, identity, Agreement(ranks), stop, refused)


def _check_identity(saved: dict[str, Any], identity: dict[str, Any], former: dict[str, str]) -> None:
    """Raise RunError where a checkpoint is another run's, or of other data.

    Args:
        saved: what it says it is, by name.
        identity: what it must be, by name.
        former: what some of it was in earlier versions.
    """
    known = {name: (value, former.get(name, value)) for name, value in identity.items()}
    differ = sorted(name for name in identity if saved.get(name) not in known[name])
    if differ:
        raise RunError(f"the checkpoint is another run's: its {', '.join(differ)} differ. resume=never trains anew")
