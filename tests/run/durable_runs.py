"""A run that is stopped, killed and resumed by the tests of what it survives, and how it is started."""

import os
import signal
import subprocess
from pathlib import Path

from processes import ended, started, steps_logged, when

# Everything that draws or averages is on: TrivialAugment, erasing, mixup, cutmix, repeated augmentation, warm-up, EMA.
# 5 epochs of 4 steps at 12 px; the log's entries (every 3 steps) do not fall on the ends of saves or epochs.
RUN = (
    *("+recipe=v2", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "log.images=false"),
    *("data=synthetic", "data.size=256", "batch_size=64", "micro_batch_size=16", "epochs=5", "evaluate.every=2"),
    *("ema.decay=0.9999999", "log.every_steps=3", "checkpoint.keep_after_training=true"),
)
STEPS = 20
EACH_STEP = "checkpoint.every_minutes=0.00001"


def undisturbed(folder: Path, processes: int) -> Path:
    done = ended(started(folder, *RUN, f"hydra.run.dir={folder / 'run'}", "data.workers=1", processes=processes))
    assert done.returncode == 0, done.stderr
    return folder / "run"


def begin(folder: Path, *more: str, processes: int = 0, torchrun: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    arguments = (*RUN, f"hydra.run.dir={folder}", "data.workers=2", *more)
    return started(folder.parent, *arguments, processes=processes, torchrun=torchrun)


def stopped(folder: Path) -> Path:
    """The checkpoint of a run that was asked to stop on its way."""
    process = begin(folder, EACH_STEP)
    when(lambda: steps_logged(folder) >= 6, process)
    os.kill(process.pid, signal.SIGTERM)
    ended(process)
    return folder / "checkpoints" / "last.pt"


def go_on(folder: Path, *more: str, processes: int = 0) -> str:
    """The same command again, to the end. Other workers: they change nothing."""
    arguments = (*RUN, f"hydra.run.dir={folder}", "data.workers=0", *more)
    done = ended(started(folder.parent, *arguments, processes=processes))
    assert done.returncode == 0, done.stderr
    return done.stdout


def ignoring_hangups() -> None:
    """As nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
