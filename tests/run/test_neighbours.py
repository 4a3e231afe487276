"""What a run only looks at, the finished runs beside it, does not stop it, however broken."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from recipe.plan.compose import Plan
from recipe.run.run import train

Composer = Callable[..., Plan]
SMALL = (
    *("scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "data.workers=0", "max_steps=1"),
    *("data=synthetic", "data.size=64", "batch_size=32", "micro_batch_size=16", "log.images=false"),
)


def planned(plan: Composer, root: Path, recipe: str) -> Plan:
    composed = plan(f"+recipe={recipe}", *SMALL)
    return replace(composed, folder=root / composed.name / "seed=0")


@pytest.fixture(scope="module")
def trained(plan: Composer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of r11, with the weights that r10 would train."""
    of = planned(plan, tmp_path_factory.mktemp("runs"), "r11_inference_resize")
    train(of)
    return of.folder


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replaced_by(content: str) -> Callable[[Path], None]:
    def replace_content(path: Path) -> None:
        path.write_text(content)

    return replace_content


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


FAULTS: dict[str, Callable[[Path], None]] = {
    "empty": empty,
    "cut": cut,
    "missing": Path.unlink,
    "not JSON": replaced_by("\x00\xff"),
    "a folder": folder_in_its_place,
    "a link to itself": link_to_itself,
    "a named pipe": pipe,
    "a list": replaced_by("[1]"),
    "foreign": replaced_by('{"hashes": 3, "data": {}, "acc1": "x"}'),
    "deep": replaced_by("[" * 100_000),
}
BROKEN = [("environment.json", fault) for fault in FAULTS]
BROKEN += [("result.json", "cut"), ("result.json", "foreign"), ("config.yaml", "cut"), ("config.yaml", "missing")]
BROKEN += [("config.yaml", "a list"), ("metrics.jsonl", "cut"), ("metrics.jsonl", "missing")]
BROKEN += [("checkpoints/model.safetensors", "cut")]


@pytest.mark.parametrize(("name", "fault"), BROKEN, ids=[f"{name} {fault}" for name, fault in BROKEN])
def test_broken_neighbour_is_skipped_with_a_line(
    plan: Composer, trained: Path, tmp_path: Path, name: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from recipe.data import dataset
    from recipe.run.run import fit_to_data
    from recipe.run.shared_training import find

    neighbour = tmp_path / trained.parent.name / "seed=0"
    shutil.copytree(trained, neighbour)
    other = planned(plan, tmp_path, "r10_ema")
    train_set, val_set = dataset.load(other.config.data)
    other = fit_to_data(other, train_set)
    data = {"train": train_set.fingerprint, "val": val_set.fingerprint}
    assert find(other, data) == neighbour
    capsys.readouterr()
    FAULTS[fault](neighbour / name)
    assert find(other, data) is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{neighbour} is broken, and left out")


def test_run_trains_beside_broken_ones_and_the_report_reads_both(
    plan: Composer, tmp_path: Path, recipe: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for fault in ("empty", "foreign"):
        folder = tmp_path / fault / "seed=0"
        folder.mkdir(parents=True)
        for name in ("result.json", "environment.json"):
            (folder / name).write_text("{}")
            FAULTS[fault](folder / name)
    (tmp_path / "file").write_text("")
    own = planned(plan, tmp_path, "r10_ema")
    train(own)
    assert json.loads((own.folder / "result.json").read_text())["steps"] == 1
    assert capsys.readouterr().out.count("is broken, and left out") == 2
    assert recipe("report", tmp_path, "--no-figures") == 0
    assert "made by another version" in (tmp_path / "report" / "runs.csv").read_text()
