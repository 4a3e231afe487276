"""What a run does and says on its way: the plateau, divergence, errors while it saves, waiting, thread counts."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recipe.data.decode import Picture, picture_of
from recipe.data.synthetic import RandomImages
from recipe.errors import RunError
from recipe.logs import console
from recipe.logs.journal import Journal
from recipe.plan.compose import Plan
from recipe.run.checkpoint import load_checkpoint
from recipe.run.run import train
from recipe.run.trainer import Trainer

SMALL = ["scale=demo", "scale.resolution=0.0715", "data=synthetic", "data.size=128", "data.workers=0"]
PLATEAU = ["schedule=plateau", "schedule.patience=0", "schedule.threshold=0.9", "schedule.gamma=0.5"]


def test_plateau_lowers_the_rate_and_goes_on_after_an_interruption(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = "model.name=shufflenet_v2_x0_5"
    composed = plan("+recipe=r00_baseline", *SMALL, model, *PLATEAU, "epochs=5", "evaluate.every=1")
    whole, interrupted = (replace(composed, folder=tmp_path / name) for name in ("whole", "interrupted"))
    train(whole)
    train_epoch = Trainer.train_epoch

    def stop_before_the_fourth(run: Trainer, epoch: int) -> None:
        if epoch == 3:
            run.save(epoch, 0)
            raise KeyboardInterrupt
        train_epoch(run, epoch)

    monkeypatch.setattr(Trainer, "train_epoch", stop_before_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        train(interrupted)
    monkeypatch.undo()
    train(interrupted)
    # The first loss is the best there is, and no other is a tenth of it: each epoch after it halves the rate.
    lowered = "learning rate lowered from 0.{} to 0.{}: 1 evaluation without a lower loss (schedule=plateau)"
    steps = [lowered.format(*pair) for pair in (("0125", "00625"), ("00625", "003125"), ("003125", "001563"))]
    assert [line for line in (whole.folder / "train.log").read_text().splitlines() if "lowered" in line] == steps
    log = (interrupted.folder / "train.log").read_text()
    assert "schedule=plateau has lowered the learning rate to 0.003125 so far" in log
    assert rates(whole.folder) == rates(interrupted.folder) == pytest.approx([0.1 / 8 / 2**e for e in (0, 0, 1, 2, 3)])


def rates(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["train/lr"] for row in rows if "train/lr" in row]


def test_images_of_an_epoch_are_counted_without_their_repeats(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """768 positions of 1,000 images: 192 images, each 4 times."""
    composed = plan("+recipe=v2", *SMALL, "data.size=1000", "model.name=shufflenet_v2_x0_5", "max_steps=1")
    train(replace(composed, folder=tmp_path))
    log = (tmp_path / "train.log").read_text()
    assert "an epoch takes 192 of the 1,000 images, each 4 times (repeated augmentation)" in log


def test_a_gpu_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which PyTorch is made to know here."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA H100 {device.index}")
    assert console.device_name(torch.device("cuda", 1)) == "NVIDIA H100 1"
    assert console.device_name(torch.device("cpu")) == "cpu"


def test_diverged_network_is_no_result(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """One step at an absurd rate: the weights are finite, what they compute is not."""
    short = (*SMALL[:-2], "data.size=32", "data.workers=0", "model.name=shufflenet_v2_x0_5", "optimizer.lr=1e30")
    composed = plan("+recipe=r00_baseline", *short, "epochs=1")
    with pytest.raises(RunError, match=r"the validation loss is (nan|inf).*diverged"):
        train(replace(composed, folder=tmp_path / "whole"))
    assert not (tmp_path / "whole" / "result.json").exists()
    train(replace(plan("+recipe=r00_baseline", *short, "max_steps=1"), folder=tmp_path / "short"))
    assert json.loads((tmp_path / "short" / "result.json").read_text())["loss"] is None
    assert "NaN" not in (tmp_path / "short" / "metrics.jsonl").read_text()


def test_error_during_a_save_is_told_and_the_save_ends_whole(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that saves still needs the log's file: what stops the run must wait for it."""
    sync = Journal.sync

    def slowly(journal: Journal) -> None:
        time.sleep(0.5)
        sync(journal)

    def fail(run: Trainer, epoch: int) -> None:
        raise ValueError("of the evaluation")

    monkeypatch.setattr(Journal, "sync", slowly)
    monkeypatch.setattr(Trainer, "validate", fail)
    composed = plan("+recipe=r00_baseline", *SMALL, "model.name=shufflenet_v2_x0_5", "epochs=2", "evaluate.every=1")
    with pytest.raises(ValueError, match="of the evaluation"):
        train(replace(composed, folder=tmp_path))
    assert load_checkpoint(tmp_path / "checkpoints").state is not None


def test_policy_on_the_device_ends_in_the_same_weights(plan: Callable[..., Plan], tmp_path: Path) -> None:
    model = ("model.name=shufflenet_v2_x0_5", "epochs=2", "log.images=false")
    hashes = set()
    for where in ("host", "device"):
        composed = plan("+recipe=v2", *SMALL, *model, f"augment.policy_on={where}")
        train(replace(composed, folder=tmp_path / where))
        hashes.add((composed.name, composed.result_hash))
    assert len(hashes) == 1  # it is not another experiment
    host, device = (tmp_path / where / "checkpoints" / "model.safetensors" for where in ("host", "device"))
    assert host.read_bytes() == device.read_bytes()


def test_run_that_waited_for_its_images_says_so(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """Here a data set that takes 20 ms an image, of 10 to 20 for the training; and one that takes none."""
    image, said = picture_of(torch.randint(256, (3, 16, 16), dtype=torch.uint8)), []
    for name, seconds, matters_from in (("slow", 0.02, 0), ("fast", 0.0, 0), ("short", 0.02, console.LONG)):
        composed = plan("+recipe=r00_baseline", *SMALL, "model.name=shufflenet_v2_x0_5", "max_steps=1", "data.size=32")

        def open_after_a_while(images: RandomImages, index: int, pause: float = seconds) -> Picture:
            time.sleep(pause)
            return image

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(RandomImages, "open", open_after_a_while)
            patched.setattr(console, "LONG", matters_from)
            train(replace(composed, folder=tmp_path / name))
        said.append((tmp_path / name / "train.log").read_text())
    assert "of the last epoch was spent waiting for images: `recipe bench loader`" in said[0]
    assert "waiting for images" not in said[1]
    assert "waiting for images" not in said[2], "in a run of a second it matters to nobody"


def test_resuming_with_another_thread_count_is_said_and_stays_said(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back at the first count, too: the epoch between them was computed otherwise."""
    few = ("data.size=32", "batch_size=16", "micro_batch_size=8", "evaluate.every=3", "log.images=false")
    composed = plan("+recipe=r00_baseline", *SMALL, "model.name=shufflenet_v2_x0_5", "epochs=3", *few)
    train_epoch = Trainer.train_epoch

    def stop_in(last: int) -> Callable[[Trainer, int], None]:
        def one(run: Trainer, epoch: int) -> None:
            if epoch == last:
                raise KeyboardInterrupt
            train_epoch(run, epoch)

        return one

    said = []
    for start, count in enumerate((1, 1, 2, 1)):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "get_num_threads", lambda count=count: count)  # computed with one: that is quicker
            if start < 3:
                patch.setattr(Trainer, "train_epoch", stop_in(max(1, start)))
            with pytest.raises(KeyboardInterrupt) if start < 3 else nullcontext():
                train(replace(composed, folder=tmp_path))
        said.append((tmp_path / "train.log").read_text().count("threads a rank so far"))
    assert said == [0, 0, 1, 2]
