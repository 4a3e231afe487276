"""The wheel, used outside of the checkout: the configs travel with it. And what a forge tests of it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from recipe.plan.compose import PROJECT


@pytest.mark.slow
def test_wheel_trains_and_explains_outside_the_checkout(tmp_path: Path) -> None:
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    for name in ("recipe", "conf", "hydra_plugins"):
        shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(pip, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        assert "recipe/py.typed" in files.namelist()  # type checkers of other projects read our types
        files.extractall(tmp_path / "site")
        packed = set(files.namelist())
    code = (path for name in ("recipe", "hydra_plugins") for path in (source / name).rglob("*.py"))
    modules = {str(path.relative_to(source)) for path in code}
    configs = {f"recipe/{path.relative_to(source)}" for path in (source / "conf").rglob("*.yaml")}
    assert not (modules | configs) - packed
    elsewhere.mkdir()

    def run(*arguments: str) -> str:
        others = [path for path in os.environ["PYTHONPATH"].split(os.pathsep) if path != str(PROJECT)]
        path = os.pathsep.join([str(tmp_path / "site"), *others])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        environment.pop("RECIPE_OUTPUTS", None)
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300, check=True
        )
        return done.stdout

    assert "r12_repeated_augmentation" in run("recipe", "explain", "v2")
    small = ("scale=demo", "scale.resolution=0.0715", "data=synthetic", "data.size=128", "max_steps=1")
    run("recipe.train", "+recipe=v2", *small)
    (result,) = (elsewhere / "outputs").glob("v2~*/seed=0/result.json")
    assert json.loads(result.read_text())["steps"] == 1
    assert "1 job; 0 finished before" in run("recipe.train", "-m", "+recipe=v2", *small, "seed=1")  # Hydra's plug-in
    assert list((elsewhere / "multirun_outputs").glob("v2~*/seed=1/result.json"))


def test_forge_tests_each_python_that_the_package_allows_with_targets_of_the_makefile() -> None:
    allowed = SpecifierSet(tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["requires-python"])
    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "tests.yml").read_text())
    targets = re.findall(r"(?m)^([a-z-]+):.*##", (PROJECT / "Makefile").read_text())
    for job in workflow["jobs"].values():
        pythons = set(job["strategy"]["matrix"]["python"])
        assert pythons == {f"3.{minor}" for minor in range(30) if f"3.{minor}" in allowed}
        commands = [step["run"].split() for step in job["steps"] if "run" in step]
        assert commands
        for program, *asked in commands:
            assert program == "make"
            assert set(asked) <= set(targets)
