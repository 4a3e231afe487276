"""runtime=fast: one name and one hash on every machine and with every version, whatever it has chosen there."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import ended, started

from recipe.errors import ConfigError
from recipe.plan.compose import Plan
from recipe.run.folder import earlier_compile_mode

RUN = (  # noqa: SIM905
    "+recipe=r00_baseline runtime=fast data=synthetic data.num_classes=3 data.size=24 data.workers=0 "
    "model.source=timm model.name=test_resnet resolution.train_crop=32 resolution.val_resize=32 "
    "resolution.val_crop=32 batch_size=8 micro_batch_size=8 epochs=1 log.images=false"
).split()


@pytest.mark.parametrize(
    ("overrides", "name", "training", "result"),
    [
        ([], "v2~runtime.compile=true,runtime.precision=bf16", "20363b3bb59a5580", "058382ba7e154c0a"),
        (["runtime.compile=false"], "v2~runtime.precision=bf16", "fd48d9398e8a1046", "252551acdd6345e7"),
    ],
)
def test_fast_has_the_name_and_the_hashes_that_it_always_had(
    plan: Callable[..., Plan], overrides: list[str], name: str, training: str, result: str
) -> None:
    found = plan("+recipe=v2", "runtime=fast", *overrides)
    assert found.config.runtime.compile_mode == "auto"
    assert (found.name, found.training_hash, found.result_hash) == (name, training, result)
    assert found.former_hashes == found.hashes


def test_auto_belongs_to_compiling(plan: Callable[..., Plan]) -> None:
    with pytest.raises(ConfigError, match=r"compile_mode does nothing here: it belongs to runtime\.compile"):
        plan("+recipe=v2", "runtime.compile_mode=auto")


@pytest.mark.slow
def test_the_mode_is_told_kept_and_recorded_and_runs_of_earlier_versions_are_found(tmp_path: Path) -> None:
    first = ended(started(tmp_path, "-m", *RUN, "seed=0"))
    assert first.returncode == 0, first.stderr
    (folder,) = (tmp_path / "multirun_outputs").glob("r00*/seed=0")
    log = (folder / "train.log").read_text()
    assert log.count("compile      eager: on CPUs compiled networks are no faster") == 1
    assert "may take minutes" not in log  # nothing is compiled
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["starts"][0]["compile"]["mode"] == "eager"
    assert "compile_mode: auto" in (folder / "config.yaml").read_text()
    assert earlier_compile_mode(folder) == "eager"

    as_version_0_1(folder, environment)
    assert earlier_compile_mode(folder) == "default"
    before = (folder / "result.json").read_bytes()
    both = ended(started(tmp_path, "-m", *RUN, "seed=0,1"))
    assert both.returncode == 0, both.stderr
    assert "2 jobs; 1 finished before" in both.stdout
    assert (folder / "result.json").read_bytes() == before
    report = [sys.executable, "-m", "recipe", "report", str(tmp_path / "multirun_outputs"), "--no-figures"]
    told = subprocess.run(report, capture_output=True, text=True, timeout=240, check=True).stdout
    assert "the mean of 2 runs" in told


def as_version_0_1(folder: Path, environment: dict[str, Any]) -> None:
    """Take from a run's folder what versions without `auto` did not write; they compiled, by default."""
    for start in environment["starts"]:
        del start["compile"], start["numerics"]
    (folder / "environment.json").write_text(json.dumps(environment))
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("compile_mode: auto", "compile_mode: default"))


def test_a_run_that_began_compiled_goes_on_so_where_it_can(tmp_path: Path) -> None:
    """Here it cannot: there is no compiler. It says so, and goes on."""
    trial = [*RUN, "epochs=3", "max_steps=3", "checkpoint.keep_after_training=true", "seed=0"]
    where = f"hydra.run.dir={tmp_path / 'run'}"
    assert ended(started(tmp_path, *trial, where)).returncode == 0
    folder = tmp_path / "run"
    as_version_0_1(folder, json.loads((folder / "environment.json").read_text()))
    (folder / "result.json").unlink()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CXX", str(tmp_path / "no-compiler"))
        again = ended(started(tmp_path, *trial, where))
    assert again.returncode == 0, again.stderr
    assert "eager: this run began with compiled, and goes on without: there is no g++ to compile with" in again.stdout
    starts = json.loads((folder / "environment.json").read_text())["starts"]
    assert [start.get("compile", {}).get("mode") for start in starts] == [None, "eager"]
    assert earlier_compile_mode(folder) == "default"  # as it began
