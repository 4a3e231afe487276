"""Checkpoints, configs and data from strangers cannot run code."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from recipe.data.decode import MOST_PIXELS, NO_FRAME, jpeg_frame, open_image
from recipe.errors import DataError, RunError
from recipe.plan.compose import PROJECT
from recipe.run.checkpoint import load_checkpoint
from recipe.train import main


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("as_zip", [True, False])
def test_checkpoint_that_would_run_code_is_refused(tmp_path: Path, as_zip: bool) -> None:
    evil = Evil(tmp_path / "pwned")
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "last.pt"
    if as_zip:
        torch.save({"format": 3, "model": evil}, path)
    else:
        path.write_bytes(pickle.dumps({"format": 3, "model": evil}))
    with pytest.raises(RunError, match="is not whole"):
        load_checkpoint(tmp_path / "checkpoints")
    assert not evil.path.exists()
    torch.load(path, weights_only=False) if as_zip else pickle.loads(path.read_bytes())  # the test itself can fail
    assert evil.path.exists()


QUICK = ("scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "max_steps=1", "data=synthetic")
HYDRA = {
    "callback": "callbacks: {x: {_target_: os.mkdir, path: PATH}}",
    "logging": "job_logging: {version: 1, handlers: {h: {(): os.mkdir, path: PATH}}, root: {handlers: [h]}}",
    "hydra_logging": "hydra_logging: {version: 1, handlers: {h: {(): os.mkdir, path: PATH}}, root: {handlers: [h]}}",
    "environment": "job: {env_set: {LD_PRELOAD: PATH}}",
    "folder": "run: {dir: PATH}",
    "launcher": "launcher: {_target_: os.mkdir}",
}


@pytest.mark.parametrize("sweep", [False, True], ids=["run", "sweep"])
@pytest.mark.parametrize("what", HYDRA)
def test_recipe_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str, sweep: bool
) -> None:
    recipe = tmp_path / "conf" / "recipe" / "evil.yaml"
    recipe.parent.mkdir(parents=True)
    content = HYDRA[what].replace("PATH", str(tmp_path / "pwned"))
    recipe.write_text(f"# @package _global_\ndefaults: [v1, _self_]\nhydra: {{{content}}}\n")
    monkeypatch.setenv("RECIPE_OUTPUTS", str(tmp_path / "runs"))
    more = ["-m", "+recipe=evil,v1"] if sweep else ["+recipe=evil"]
    monkeypatch.setattr(sys, "argv", ["train.py", "--config-dir", str(tmp_path / "conf"), *more, *QUICK])
    with pytest.raises(SystemExit, check=lambda end: end.code == 2):
        main()
    assert "only the command line may set hydra.*" in capsys.readouterr().err
    assert not (tmp_path / "pwned").exists()
    assert "LD_PRELOAD" not in os.environ
    assert sweep or not (tmp_path / "runs").exists()


def test_target_in_a_recipe_is_no_key(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe" / "evil.yaml"
    recipe.parent.mkdir()
    recipe.write_text("# @package _global_\ndefaults: [v1, _self_]\nloss: {_target_: os.mkdir}\n")
    command = [sys.executable, "train.py", "--config-dir", str(tmp_path), "+recipe=evil", "data=synthetic"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "there is no key loss._target_" in done.stderr


def test_the_command_line_may_set_hydra(tmp_path: Path) -> None:
    command = [sys.executable, "train.py", "+recipe=v1", f"hydra.run.dir={tmp_path / 'here'}", "--cfg", "hydra"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "here") in done.stdout


def jpeg_that_says(height: int, width: int) -> bytes:
    """A photo's file whose header claims another size."""
    import io

    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, "JPEG")
    content = bytearray(file.getvalue())
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(content)


def test_bomb_is_refused_before_its_memory_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jpg"
    path.write_bytes(jpeg_that_says(60_000, 60_000))  # 10.8 GB of pixels
    with pytest.raises(DataError, match=r"bomb\.jpg.*60000 x 60000 pixels.*bomb"):
        open_image(path).whole()
    assert MOST_PIXELS > 12_000 * 12_000  # the largest of cameras' photos are read
    png = tmp_path / "bomb.png"
    Image.new("1", (30_000, 30_000)).save(png)
    with pytest.raises(DataError, match=r"bomb\.png.*bomb"):
        open_image(png).whole()


@pytest.mark.parametrize("content", [b"\xff\xd8\xff", b"\xff\xd8\xff" * 40, b"\xff\xd8\xff\xe0\xff\xff" + bytes(40)])
def test_file_without_a_frame_has_no_size(content: bytes) -> None:
    assert jpeg_frame(content) == NO_FRAME


def test_size_is_found_behind_other_segments_and_fill_bytes() -> None:
    content = jpeg_that_says(300, 500)
    comment = b"\xff\xfe\x00\x06\xff\xc0\x00\x00"  # whose text looks like a frame header
    table = b"\xff\xc4\x00\x0a" + b"\x11" * 8  # a Huffman table, whose marker is among those of frames
    assert jpeg_frame(content[:2] + comment + b"\xff\xff" + table + content[2:])[:3] == (300, 500, 3)
