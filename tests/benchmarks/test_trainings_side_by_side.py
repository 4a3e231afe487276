"""The benchmark of whole trainings: ours is real, the other two are stand-ins that log as the real scripts do."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from photos import encoded, photo

from recipe.plan.compose import PROJECT

# What the scripts print: timm 1.0.31, torchvision's references of 0.19.
TIMM = (
    "Train: 0 [{0:>4d}/600 (  1%)]  Loss: 2.39 (2.38)  Time: 0.050s,   320.00/s  (0.050s,   320.00/s)  "
    "LR: 1.000e-05  Data: 0.000 (0.001)"
)
TORCHVISION = (
    "Epoch: [0]  [{0:>3d}/600]  eta: 0:00:22  lr: 0.001  img/s: 320.1 (320.0)  loss: 2.3 (2.3)  acc1: 0.0 (4.1)  "
    "acc5: 37.5 (35.4)  time: 0.0500  data: 0.0001"
)
SCRIPT = """
import sys, time
print("Creating model", sys.argv, file=sys.{stream})
begin = time.monotonic()
for step in range({steps}):
    time.sleep(max(0.0, begin + {seconds} * step - time.monotonic()))
    print({line!r}.format(step), file=sys.{stream})
sys.exit("it broke")
"""
SMALL = "--model resnet18 --crop 32 --batch 2 --micro-batches 2 --every 2 --classes 2 --workers 1 --device cpu"


@pytest.fixture
def script() -> Any:
    spec = importlib.util.spec_from_file_location("whole_training", PROJECT / "benchmarks" / "whole_training.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_three_trainings_are_measured_in_turn_and_one_that_breaks_is_named(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        (photos / f"{number}.jpg").write_bytes(encoded(photo(60 + number, 90), "JPEG"))
    timm, torchvision = tmp_path / "timm.py", tmp_path / "classification" / "train.py"
    torchvision.parent.mkdir()
    timm.write_text(SCRIPT.format(stream="stderr", steps=1000, seconds=0.05, line=TIMM))
    torchvision.write_text(SCRIPT.format(stream="stdout", steps=5, seconds=0.01, line=TORCHVISION))
    where = ["--timm", str(timm), "--torchvision", str(torchvision.parent), "--photos", str(photos)]
    command = [sys.executable, str(PROJECT / "benchmarks" / "whole_training.py"), *where, *SMALL.split()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--warm-up", "8", "--images", "24", "--rounds", "1"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "whole_training.json").read_text())
    assert (found["model"], found["crop"], found["batch"], found["repetitions"]) == ("resnet18", 32, 2, 1)
    ours, of_timm, of_torchvision = found["rows"]
    assert [row["name"] for row in found["rows"]] == ["ours", "timm", "torchvision"]
    assert len(ours["rates"]) == 1
    assert ours["rates"][0] > 0
    assert ours["failed"] == ""
    assert of_timm["rates"] == pytest.approx([40], rel=0.1)  # 2 images in 0.05 s; a line after each step
    assert [len(each) for each in of_timm["between_lines"]] == [12]
    assert of_torchvision["rates"] == []
    assert of_torchvision["failed"].endswith("it broke")
    assert "--auto-augment ta_wide" in of_torchvision["command"]
    assert "sampler.repetitions=1" in ours["command"]
    assert str(tmp_path) not in json.dumps(found)  # no paths of this machine
    assert done.stdout.count("data.root=DATA") == 1
    assert done.stdout.splitlines()[-1].startswith("| torchvision | failed: ")
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(timm) not in left
    assert "data.root=/tmp/whole_training_" not in left


def test_lines_of_the_real_scripts_are_read(script: Any) -> None:
    for pattern, line in ((script.TIMM_LINE, TIMM), (script.TORCHVISION_LINE, TORCHVISION)):
        assert [int(pattern.search(line.format(step))[1]) for step in (0, 50, 599)] == [0, 50, 599]
    assert script.TIMM_LINE.search("Test: [   0/9]  Time: 0.1 (0.1)") is None
    assert script.TORCHVISION_LINE.search("Test:  [ 0/9]  eta: 0:00:01") is None


def test_commands_of_a_gpu_ask_for_what_the_recipe_has(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--timm", "t/train.py", "--torchvision", "v", "--photos", ".", "--device", "cuda", "--workers", "16"]
    monkeypatch.setattr(sys, "argv", ["whole_training.py", *given])
    for name in ("a", "b", "c"):
        (tmp_path / "train" / name).mkdir(parents=True)
    made = script.programs(script._arguments(), tmp_path)
    assert " ".join(made["timm"].command).count("--num-classes 3") == 1
    assert list(made) == ["ours", "ours-eager", "timm", "timm-compiled", "timm-graphs", "torchvision"]
    assert made["ours"].images == 1024
    assert made["ours"].command[-1] == "runtime=fast"
    assert "sampler.repetitions=4" in made["ours"].command
    assert "--torchcompile" not in made["timm"].command
    assert made["timm-graphs"].command[-3:] == ["--torchcompile", "--torchcompile-mode", "reduce-overhead"]
    assert {"--amp", "bfloat16"} < set(made["timm"].command)
    assert {"--ra-sampler", "--amp", "torch.distributed.run"} < set(made["torchvision"].command)
    assert {made[name].images for name in ("timm", "torchvision")} == {128}
