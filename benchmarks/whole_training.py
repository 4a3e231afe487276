"""Whole trainings from the same photos: ours, timm's script and torchvision's reference, in turn.

    python benchmarks/whole_training.py --timm TRAIN.PY --torchvision FOLDER --photos FOLDER

Each is started as its users start it, with the flags of torchvision's published ResNet-50 recipe (ours: +recipe=v2), as
far as it has them. Counted are the images between two of its own log lines, by this process's clock, and none of the
first --warm-up images, while networks are compiled, kernels tried and what was loaded ahead is used up. Then it is
ended. The commands are printed. The photos are in train/CLASS and val/CLASS, or anywhere in a folder: then links to
them are made, as many as one epoch needs, so that no epoch ends while images are counted.

Repeated augmentation (--repetitions, 4 on a GPU): torchvision's and ours. timm's needs its distributed mode; it decodes
repeats one by one, so nothing would become faster.
At a small size, on a CPU: --model resnet18 --crop 64 --batch 16 --micro-batches 1 --warm-up 160 --images 480 --every 5
"""

import argparse
import contextlib
import json
import os
import platform
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import torchvision

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recipe.data.image_files import IMAGE_SUFFIXES  # noqa: E402
from recipe.files import write_atomically  # noqa: E402
from recipe.machine.limits import cores  # noqa: E402

GRACE = 60.0  # seconds that a program gets to end
TIMM_LINE = re.compile(r"Train: 0 \[ *(\d+)/")
TORCHVISION_LINE = re.compile(r"Epoch: \[0\] +\[ *(\d+)/")
OURS_LINE = re.compile(r'^{"step": (\d+), "epoch": 0, "train/')


class Program(NamedTuple):
    """A way to train, as its users start it."""

    command: list[str]
    images: int  # of a step
    line: re.Pattern[str]  # of its log, with the steps done
    log: str  # the file with such lines, in its folder


@dataclass
class Figures:
    """What was measured of one program."""

    name: str
    command: str
    rates: list[float] = field(default_factory=list)  # images a second, round by round
    between_lines: list[list[float]] = field(default_factory=list)  # of each round: from one log line to the next
    failed: str = ""  # how it ended


def main() -> None:
    """Make the data, run the programs in turn, print and keep the figures after each."""
    a = _arguments()
    with tempfile.TemporaryDirectory(prefix="whole_training_") as name:
        folder = Path(name)
        needed = a.warm_up + a.images + 2 * max(a.every, a.micro_batches) * a.batch
        data = a.photos if (a.photos / "train").is_dir() else linked(a.photos, folder / "data", needed, a.classes)
        made = programs(a, data.absolute())
        words = {str(data.absolute()): "DATA", sys.executable: "python", str(ROOT): "."}
        words |= {str(a.timm): "timm/train.py", str(a.torchvision): "classification"}
        rows = [Figures(each, shown(made[each].command, words)) for each in a.ways or made]
        print(*(f"{row.name}: {row.command}" for row in rows), sep="\n", flush=True)
        for number in range(a.rounds):
            for row in rows:
                own = folder / f"{number}_{row.name}"
                own.mkdir()
                rates = measured(made[row.name], own, a.warm_up, a.images, 60 * a.minutes)
                if rates is None:
                    row.failed = " | ".join((own / "out.txt").read_text(errors="replace").splitlines()[-3:])
                else:
                    row.rates.append(rates[0])
                    row.between_lines.append(rates[1])
                print(f"round {number + 1}, {row.name}: {row.rates[-1:] or row.failed}", flush=True)
                write_atomically(a.out, json.dumps({**about(a), "rows": [asdict(r) for r in rows]}, indent=2) + "\n")
    print("\n".join(table(rows)))


def programs(a: argparse.Namespace, data: Path) -> dict[str, Program]:
    """The programs by name, those of the device first asked for."""
    on_gpu = a.device == "cuda"
    ours = [sys.executable, str(ROOT / "train.py"), "+recipe=v2", "data=imagefolder", f"data.root={data}"]
    ours += [f"model.name={a.model}", f"resolution.train_crop={a.crop}", f"data.workers={a.workers}"]
    ours += [f"batch_size={a.batch * a.micro_batches}", f"micro_batch_size={a.batch}"]
    ours += [f"sampler.repetitions={a.repetitions}", f"runtime.device={a.device}"]
    ours += ["log.images=false", f"log.every_steps={max(1, a.every // a.micro_batches)}"]
    ours += ["checkpoint.every_minutes=1000", "hydra.run.dir=run"]

    of_timm = [
        sys.executable,
        str(a.timm),
        "--data-dir",
        str(data),
        "--model",
        a.model,
        "--num-classes",
        str(len(list((data / "train").iterdir()))),
    ]
    of_timm += ["--batch-size", str(a.batch), "--img-size", str(a.crop), "--workers", str(a.workers)]
    of_timm += ["--channels-last", "--opt", "momentum", "--lr", "0.1", "--weight-decay", "2e-5", "--epochs", "600"]
    of_timm += ["--aa", "rand-m7-n1-mstd0.5", "--color-jitter", "0", "--train-interpolation", "bilinear"]
    of_timm += ["--mixup", "0.2", "--cutmix", "1.0", "--reprob", "0.1", "--smoothing", "0.1", "--model-ema"]
    of_timm += ["--log-interval", str(a.every), "--output", "run", "--device", a.device]
    of_timm += ["--amp", "--amp-dtype", "bfloat16", "--pin-mem"] if on_gpu else []

    start = ["-m", "torch.distributed.run", "--nproc_per_node=1"] if a.repetitions > 1 else []
    of_vision = [sys.executable, *start, str(a.torchvision / "train.py"), "--data-path", str(data), "--model", a.model]
    of_vision += ["--batch-size", str(a.batch), "--train-crop-size", str(a.crop), "--workers", str(a.workers)]
    of_vision += ["--lr", "0.1", "--weight-decay", "2e-5", "--norm-weight-decay", "0.0", "--epochs", "600"]
    of_vision += ["--lr-scheduler", "cosineannealinglr", "--lr-warmup-epochs", "5", "--lr-warmup-method", "linear"]
    of_vision += ["--auto-augment", "ta_wide", "--random-erase", "0.1", "--mixup-alpha", "0.2", "--cutmix-alpha", "1.0"]
    of_vision += ["--label-smoothing", "0.1", "--model-ema", "--val-resize-size", "232", "--print-freq", str(a.every)]
    of_vision += ["--output-dir", "", "--device", a.device]
    of_vision += ["--ra-sampler", "--ra-reps", str(a.repetitions)] if a.repetitions > 1 else []
    of_vision += ["--amp"] if on_gpu else []

    step, mine = a.batch * a.micro_batches, "run/metrics.jsonl"
    compiled = [*of_timm, "--torchcompile"]
    found = {"ours": Program([*ours, *(["runtime=fast"] if on_gpu else [])], step, OURS_LINE, mine)}
    if on_gpu:
        found["ours-eager"] = Program([*ours, "runtime=bf16"], step, OURS_LINE, mine)
    found["timm"] = Program(of_timm, a.batch, TIMM_LINE, "out.txt")
    if on_gpu:
        graphs = [*compiled, "--torchcompile-mode", "reduce-overhead"]
        found["timm-compiled"] = Program(compiled, a.batch, TIMM_LINE, "out.txt")
        found["timm-graphs"] = Program(graphs, a.batch, TIMM_LINE, "out.txt")
    found["torchvision"] = Program(of_vision, a.batch, TORCHVISION_LINE, "out.txt")
    return found


def measured(
    program: Program, folder: Path, warm_up: int, images: int, seconds: float
) -> tuple[float, list[float]] | None:
    """Images a second over `images` images after `warm_up`, and from each log line to the next.

    None if the program ended before, or took longer than so many seconds; `folder` then has its output, out.txt.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    marks: list[tuple[float, int]] = []
    deadline = time.monotonic() + seconds
    with (folder / "out.txt").open("wb") as out:
        process = subprocess.Popen(
            program.command, cwd=folder, stdout=out, stderr=out, env=environment, start_new_session=True
        )
        try:
            new_lines = _follow(folder / program.log)
            while not marks or marks[-1][1] - marks[0][1] < images:
                if process.poll() is not None or time.monotonic() > deadline:
                    return None
                time.sleep(0.01)
                for line in new_lines():
                    found = program.line.search(line)
                    if found and int(found[1]) * program.images >= warm_up:
                        marks.append((time.monotonic(), int(found[1]) * program.images))
        finally:
            _end(process)
    between = [(after - before) / (end - begin) for (begin, before), (end, after) in pairwise(marks)]
    return (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0]), between


def _follow(path: Path) -> Callable[[], list[str]]:
    """A function that returns the lines that a file has got since its last call, while another process writes it."""
    read = 0

    def new_lines() -> list[str]:
        nonlocal read
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(read)
            whole = file.read().rpartition(b"\n")[0]
        read += len(whole) + 1 if whole else 0
        return whole.decode(errors="replace").splitlines()

    return new_lines


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a program to end, with all that it started; torchrun's worker is in a session of its own, which it ends."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def linked(photos: Path, data: Path, files: int, classes: int) -> Path:
    """A folder with train/CLASS and val/CLASS: links to the photos in turn, one of each class in val."""
    found = sorted(path for path in photos.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        sys.exit(f"no photos in {photos}")
    for number in range(files + classes):
        split, place = ("train", number) if number < files else ("val", number - files)
        photo = found[number % len(found)]
        path = data / split / f"class{place % classes:04}" / f"{place:07}{photo.suffix.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(photo.absolute())
    return data


def shown(command: list[str], words: dict[str, str]) -> str:
    """A command for people: without the paths of this machine."""
    text = shlex.join(command)
    for path, word in words.items():
        text = text.replace(path, word)
    return text


def about(a: argparse.Namespace) -> dict[str, Any]:
    """What the figures belong to."""
    device = torch.cuda.get_device_name() if a.device == "cuda" else f"{platform.machine()} CPU"
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "timm": timm.__version__}
    sizes = {name: getattr(a, name) for name in ("model", "crop", "batch", "micro_batches", "repetitions", "workers")}
    return {"date": str(date.today()), "device": device, "cores": cores(), **versions, **sizes}


def table(rows: list[Figures]) -> list[str]:
    """The figures in Markdown: the median of the rounds, and the range of the speed between two log lines."""
    lines = ["| | images/s | rounds | between log lines (quartiles) |", "|---|---|---|---|"]
    for row in rows:
        if not row.rates:
            lines.append(f"| {row.name} | failed: {row.failed[:80]} | | |")
            continue
        each = [rate for between in row.between_lines for rate in between]
        low, _, high = statistics.quantiles(each, n=4) if len(each) > 1 else each * 3
        rounds = ", ".join(f"{rate:,.1f}" for rate in row.rates)
        lines.append(f"| {row.name} | {statistics.median(row.rates):,.1f} | {rounds} | {low:,.1f} to {high:,.1f} |")
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--timm", type=Path, required=True, metavar="TRAIN.PY", help="of huggingface/pytorch-image-models"
    )
    parser.add_argument("--torchvision", type=Path, required=True, metavar="FOLDER", help="references/classification")
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cuda", "cpu"), default=device)
    parser.add_argument(
        "--ways", nargs="+", metavar="NAME", help="ours, timm, torchvision; on a GPU ours-eager … too (all)"
    )
    parser.add_argument("--model", default="resnet50", help="(resnet50)")
    parser.add_argument("--crop", type=int, default=176, help="(176)")
    parser.add_argument("--batch", type=int, default=128, help="images of a forward pass (128)")
    parser.add_argument("--micro-batches", type=int, default=8, help="of them in a step of ours; theirs have one (8)")
    parser.add_argument("--repetitions", type=int, help="of an image in a step (4 on a GPU, else 1)")
    parser.add_argument("--classes", type=int, default=1000, help="that links are made for (1000)")
    parser.add_argument("--workers", type=int, default=cores(), help="of each (the cores)")
    parser.add_argument("--warm-up", type=int, default=40_000, metavar="IMAGES", help="not counted (40000)")
    parser.add_argument("--images", type=int, default=80_000, help="counted (80000)")
    parser.add_argument("--every", type=int, default=50, metavar="N", help="forward passes between two log lines (50)")
    parser.add_argument("--rounds", type=int, default=2, help="(2)")
    parser.add_argument("--minutes", type=float, default=10, help="at most, for one program in one round (10)")
    parser.add_argument("--out", type=Path, default=Path("whole_training.json"), help="(whole_training.json)")
    a = parser.parse_args()
    a.timm, a.torchvision = a.timm.absolute(), a.torchvision.absolute()
    if a.repetitions is None:
        a.repetitions = 4 if a.device == "cuda" else 1
    return a


if __name__ == "__main__":
    main()
