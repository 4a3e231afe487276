"""A sweep's jobs run the code that it began with, or none."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import ended, imports_torch, started, when

from recipe.errors import ConfigError, RunError
from recipe.plan import source_code
from recipe.plan.compose import PROJECT
from recipe.plan.source_code import SourceCode, checked, digest, refused

TINY = (
    *("scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "log.images=false", "data.workers=0"),
    *("data=synthetic", "data.size=64", "batch_size=32", "micro_batch_size=16", "max_steps=1", "hydra.launcher.jobs=1"),
)
CHANGED = "recipe/ingredients/loss.py"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, to be changed."""
    for name in ("recipe", "conf", "hydra_plugins"):
        shutil.copytree(PROJECT / name, tmp_path / "project" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(PROJECT / "train.py", tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def looked_at(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The copy is what this process takes for its code."""
    monkeypatch.setattr(source_code, "PACKAGE", project / "recipe")
    monkeypatch.setattr(source_code, "CONF", project / "conf")
    return project


def edit(project: Path, name: str = CHANGED) -> None:
    with (project / name).open("a") as file:
        file.write("\n# changed\n")


EDITS: dict[str, Callable[[Path], object]] = {
    "content": lambda project: (project / "conf" / "model" / "resnet50.yaml").write_text("name: resnet51\n"),
    "another file": lambda project: (project / "conf" / "recipe" / "new.yaml").write_text(""),
    "one less": lambda project: (project / "recipe" / "wheel.py").unlink(),
    "another name": lambda project: (project / "recipe" / "wheel.py").rename(project / "recipe" / "letters.py"),
    "train.py": lambda project: edit(project, "train.py"),
    "plug-in": lambda project: edit(project, "hydra_plugins/recipe_launcher/launcher.py"),
}
NO_EDITS: dict[str, Callable[[Path], object]] = {
    "touched": lambda project: os.utime(project / CHANGED),
    "compiled": lambda project: (project / "recipe" / "__pycache__").mkdir(),
    "an editor's": lambda project: (project / "recipe" / ".train.py.swp").write_text("x"),
    "a result": lambda project: (project / "outputs").mkdir(),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_change_is_noticed(what: str, looked_at: Path) -> None:
    code = SourceCode("stop")
    (flag,) = code.argument()
    assert code.why_not() is None
    EDITS[what](looked_at)
    assert "the code has changed since the sweep began" in str(code.why_not())
    with pytest.raises(RunError, match=r"was not begun.*changed_code=continue"):
        checked([flag, "+recipe=v1"])


@pytest.mark.parametrize("what", NO_EDITS)
def test_what_is_no_change_is_none(what: str, looked_at: Path) -> None:
    code = SourceCode("stop")
    NO_EDITS[what](looked_at)
    assert code.why_not() is None
    assert checked([*code.argument(), "+recipe=v1"]) == ["+recipe=v1"]


def test_what_is_changed_back_is_no_change(looked_at: Path) -> None:
    code, before = SourceCode("stop"), (looked_at / CHANGED).read_bytes()
    edit(looked_at)
    assert CHANGED in str(code.why_not())
    (looked_at / CHANGED).write_bytes(before)
    assert code.why_not() is None


def test_the_project_may_lie_elsewhere_for_a_job(looked_at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest([])
    moved = looked_at.rename(looked_at.with_name("moved"))
    monkeypatch.setattr(source_code, "PACKAGE", moved / "recipe")
    monkeypatch.setattr(source_code, "CONF", moved / "conf")
    assert digest([]) == before


def test_jobs_may_go_on_and_say_so(looked_at: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = SourceCode("continue")
    edit(looked_at)
    assert code.why_not() is None
    assert code.why_not() is None
    told = capsys.readouterr().out
    assert told.count(f"The code has changed since the sweep began ({CHANGED})") == 1
    assert checked([*code.argument(), "seed=1"]) == ["seed=1"]
    assert "this job runs the new code" in capsys.readouterr().out


def test_which_commands_of_before_are_refused(looked_at: Path, tmp_path: Path) -> None:
    """Each by the code of its own start, and by its own folders of recipes."""
    own = tmp_path / "own"
    (own / "recipe").mkdir(parents=True)
    first, going_on = SourceCode("stop"), SourceCode("continue")
    edit(looked_at)
    second, with_own = SourceCode("stop"), SourceCode("stop", [str(own)])
    commands = [
        *([*code.argument(), "seed=1"] for code in (first, going_on, second)),
        [*with_own.argument(), "--config-dir", str(own)],
        ["seed=1"],
    ]
    assert [why is not None for why in refused(commands)] == [True, False, False, False, False]
    (own / "recipe" / "more.yaml").write_text("")
    assert [why is not None for why in refused(commands)] == [True, False, False, True, False]


def test_recipes_of_a_folder_of_one_s_own_count(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    code = SourceCode("stop", [str(tmp_path)])
    arguments = [*code.argument(), "--config-dir", str(tmp_path)]
    assert checked(arguments) == arguments[1:]
    (tmp_path / "recipe" / "own.yaml").write_text("")
    assert "own.yaml" in str(code.why_not())
    with pytest.raises(RunError):
        checked(arguments)


def test_an_installed_package_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_code, "IN_CHECKOUT", False)
    monkeypatch.setattr(os, "walk", lambda *_: pytest.fail("files were listed"))
    code = SourceCode("stop")
    assert code.argument() == []
    assert code.why_not() is None
    assert checked(["--code=stop:0123456789abcdef:0", "seed=1"]) == ["seed=1"]


def test_another_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.changed_code=ignore: must be stop or continue"):
        SourceCode("ignore")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_job_with_other_code_ends_before_pytorch_is_imported(tmp_path: Path) -> None:
    """Its process is held at its end, and looked at."""
    job = started(tmp_path, "--code=stop:0123456789abcdef:4000000000", "+recipe=v1", *TINY)
    seen = False
    while job.poll() is None:
        try:
            seen = seen or imports_torch(job)
        except (FileNotFoundError, ProcessLookupError):
            break
        time.sleep(0.01)
    done = ended(job)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: the code has changed since the sweep began, and this job of it was not begun")
    assert not seen
    assert not (tmp_path / "outputs").exists()


def sweep(project: Path, outputs: Path, *arguments: str) -> "subprocess.Popen[str]":
    """A sweep of the copy's code."""
    return subprocess.Popen(
        [sys.executable, str(project / "train.py"), "-m", "+recipe=v1", *TINY, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=project,
        env={**os.environ, "RECIPE_OUTPUTS": str(outputs), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def results(outputs: Path) -> int:
    return len(list((outputs / "multirun_outputs").glob("*/seed=*/result.json")))


def begun(outputs: Path) -> list[Path]:
    """Folders of jobs that the code lets begin."""
    return list((outputs / "multirun_outputs").glob("*/seed=*/environment.json"))


def test_no_job_starts_with_other_code_and_the_same_command_goes_on(project: Path, tmp_path: Path) -> None:
    first = sweep(project, tmp_path, "seed=0,1")
    when(lambda: bool(begun(tmp_path)), first)
    edit(project)
    done = ended(first)
    assert done.returncode == 2
    assert "1 of 2 jobs were not started" in done.stderr
    assert CHANGED in done.stderr
    assert "Traceback" not in done.stderr
    assert results(tmp_path) == 1  # which ran already
    again = ended(sweep(project, tmp_path, "seed=0,1"))
    assert again.returncode == 0, again.stderr
    assert "1 finished before" in again.stdout
    assert results(tmp_path) == 2


@pytest.mark.slow
def test_a_sweep_goes_on_with_other_code_where_it_is_told_to(project: Path, tmp_path: Path) -> None:
    first = sweep(project, tmp_path, "seed=0,1,2", "hydra.launcher.changed_code=continue")
    when(lambda: bool(begun(tmp_path)), first)
    edit(project)
    done = ended(first)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The code has changed since the sweep began") == 1
    assert results(tmp_path) == 3
    consoles = [file.read_text() for file in (tmp_path / "multirun_outputs").glob("*/seed=*/console.log")]
    assert sum("this job runs the new code" in text for text in consoles) == 2
