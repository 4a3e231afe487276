"""One training run, from a plan to its result: prepares the parts, and trains epoch by epoch until it is finished."""

from copy import deepcopy
from dataclasses import asdict, replace

import torch

from recipe.data import dataset as datasets
from recipe.data.cache.opening import in_memory
from recipe.data.dataset import Dataset
from recipe.data.known import described
from recipe.data.order import make_order
from recipe.data.prepare.fetch import fetch
from recipe.errors import RunError, rank_local
from recipe.ingredients.ema import REFERENCE_IMAGES
from recipe.ingredients.resizing import smallest
from recipe.logs import console, faults, tensorboard
from recipe.machine import connections, distributed, lost_machine, restarts
from recipe.machine.compile_mode import CompileMode, as_asked, chosen, describe, is_auto, most_cautious
from recipe.machine.compilers import compilers
from recipe.machine.distributed import Ranks
from recipe.machine.signals import Stopped, StopSignal
from recipe.machine.stop_notice import end_together
from recipe.network import pretrained
from recipe.network.freeze import freeze
from recipe.network.kept_files import LAST
from recipe.network.model import check_resolution, make_model
from recipe.network.pretrained import Start
from recipe.plan.compose import Plan
from recipe.plan.scaling import ema_steps
from recipe.run import folder as run_folder
from recipe.run import shared_training
from recipe.run.resume import resume
from recipe.run.trainer import Trainer
from recipe.training.evaluate import Evaluation, evaluates


def train(plan: Plan) -> None:
    """Train what the plan says, from the last checkpoint of its folder if there is one.

    Raises UserError, and Stopped when a signal asked the run to stop and it has saved.
    """
    if plan.config.resume == "auto" and _finished_before(plan):
        return
    with StopSignal(at_once=True) as stop:
        try:
            stop.at_start = _stopped_at_its_start(plan, plan.config.resume == "auto")
            ranks = distributed.start(plan.config.runtime)
            end_together(ranks, stop)
            with run_folder.claimed(plan.folder, ranks):
                anew = plan.config.resume == "never" and not _begun_by_this_command(plan, ranks)
                stop.at_start = _stopped_at_its_start(plan, not anew)
                if anew or plan.config.resume == "auto" or not _finished_before(plan):
                    _train(plan, ranks, stop, anew)
        except torch.OutOfMemoryError as error:
            raise rank_local(RunError(faults.out_of_memory(plan.config))) from error
        except RuntimeError as error:
            if "DataLoader worker" in str(error):
                raise rank_local(RunError(faults.dead_worker(error))) from error
            if found := connections.lost(error):
                within = plan.config.runtime.network_timeout
                raise lost_machine.error(found, within, lambda: stop.name is not None) from error
            if distributed.lost_a_process(error):
                raise RunError(faults.LOST_A_PROCESS) from error
            raise
        except Stopped:
            distributed.stop()
            raise
        except KeyboardInterrupt as error:
            if plan.config.resume == "auto" and (plan.folder / "checkpoints" / "last.pt").exists():
                error.add_note("The same command goes on from the last checkpoint.")
            raise
        distributed.stop()


def _stopped_at_its_start(plan: Plan, goes_on: bool) -> Stopped:
    stopped = Stopped.at_start(goes_on and (plan.folder / "checkpoints" / LAST).exists())
    stopped.resumes = plan.config.resume == "auto"
    return stopped


def _finished_before(plan: Plan) -> bool:
    result = run_folder.finished(plan)
    if result is not None and distributed.is_first():
        run_folder.drop_checkpoints(plan)  # if it was killed between its result and that
        print(f"Finished already: top-1 {result['acc1']:.2f}, in {plan.folder}\nTo train it again: resume=never")
    return result is not None


def _begun_by_this_command(plan: Plan, ranks: Ranks) -> bool:
    begun: bool = ranks.on_first(lambda: restarts.begun_by_this_command(plan.folder, ranks.command))
    return begun


def _train(plan: Plan, ranks: Ranks, stop: StopSignal, anew: bool) -> None:
    if plan.config.model.sync_batch_norm and ranks.world_size > 1 and ranks.device.type != "cuda":
        what = "model.sync_batch_norm=true needs GPUs, and this run is on a CPU"
        raise RunError(f"{what}, for which PyTorch has no synchronised batch norm")
    ranks.on_first(lambda: fetch(plan.config.data))
    train_set, val_set = datasets.load(plan.config.data, run_folder.begun_with(plan))
    plan = fit_to_data(plan, train_set)
    order = make_order(plan.config, len(train_set), train_set.labels)
    network = make_model(plan.config, len(train_set.classes))
    freeze(network, plan.config.model)
    check_resolution(network, plan.config, len(train_set.classes), smallest(plan.config))
    start = pretrained.load(network, plan.config, ranks, train_set.classes)
    if anew:
        ranks.on_first(lambda: run_folder.set_aside(plan.folder))
    fingerprints = {"train": train_set.fingerprint, "val": val_set.fingerprint}
    source = ranks.on_first(lambda: shared_training.find(plan, fingerprints))
    about_start = asdict(start) if start is not None else None
    images = ranks.on_first(lambda: described(val=val_set, train=train_set))
    compiling = _compile_mode(plan, ranks)
    ranks.on_first(
        lambda: run_folder.open_folder(
            plan, ranks, fingerprints, train_set.classes, images, about_start, compiling=compiling
        )
    )
    if source is not None and plan.config.resume == "auto":
        shared_training.evaluate_for(plan, ranks, val_set, source)
        return
    told = describe(compiling) if is_auto(plan.config.runtime) else None
    plan = replace(plan, config=replace(plan.config, runtime=compiling.applied(plan.config.runtime)))
    with in_memory(plan.config.data, (train_set, val_set), ranks) as (train_set, val_set):
        trainer = resume(plan, ranks, (train_set, val_set), order, network, stop)
        try:
            _train_to_the_end(trainer, start, told)
        finally:
            trainer.close()


def _compile_mode(plan: Plan, ranks: Ranks) -> CompileMode:
    """The mode that all ranks train in, each asked for its machine. Every rank calls it."""
    runtime = plan.config.runtime
    if not is_auto(runtime):
        return as_asked(runtime)
    earlier = ranks.on_first(lambda: run_folder.earlier_compile_mode(plan.folder))
    synchronised = plan.config.model.sync_batch_norm and ranks.world_size > 1
    return most_cautious(ranks.every(chosen(runtime, compilers(ranks.device), synchronised, earlier)))


def _train_to_the_end(trainer: Trainer, start: Start | None, compiling: str | None) -> None:
    begun = trainer.view()
    thread_counts = run_folder.earlier_threads(trainer.folder)
    for line in console.opening(begun, start, trainer.refused, thread_counts, compiling):
        trainer.journal.say(line)
    tensorboard.show_beginning(begun, trainer.journal)
    found: dict[str, Evaluation] = {}
    for epoch in range(trainer.progress.epoch, trainer.epochs):
        trainer.train_epoch(epoch)
        if evaluates(trainer.config, epoch, trainer.epochs):
            found = trainer.validate(epoch)
            trainer.end_epoch(epoch, found)
        elif trainer.midway is not None and trainer.midway.epoch == epoch:
            trainer.look(epoch, trainer.midway.images)
        if trainer.stopped_early:
            break
    trainer.finish(found)
    trainer.agreement.wait()


def fit_to_data(plan: Plan, train_set: Dataset) -> Plan:
    """The plan with the values that depend on the training set filled in: classes, EMA steps."""
    config = deepcopy(plan.config)
    config.data.num_classes = len(train_set.classes)
    if "ema.steps" not in plan.literal:
        batch_factor = 1.0 if "batch_size" in plan.literal else config.scale.batch_size
        config.ema.steps = ema_steps(config.ema.steps, batch_factor, len(train_set), REFERENCE_IMAGES)
    return replace(plan, config=config)
