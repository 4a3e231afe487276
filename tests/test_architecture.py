"""The code is laid out as docs/ARCHITECTURE.md says: its packages, their order, and how large they may grow."""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

from recipe.plan.compose import PROJECT

CODE = PROJECT / "recipe"
TEXT = (PROJECT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
LAUNCHERS = ("sweep/launcher.py", "sweep/slurm/launcher.py")
MOST_LINES = 320
MOST_AT_THE_TOP = 12  # modules, and packages


def layers() -> list[list[str]]:
    """Packages and entry points from top to bottom, those on one layer together, as import-linter has them."""
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (written,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [re.findall(r"\w+", layer) for layer in written]


def modules(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py")} - {"__init__"}


def packages(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("*/__init__.py")}


def test_every_package_is_installed() -> None:
    """A checkout finds them all; an installed wheel has those that pyproject.toml lists."""
    project = CODE.parent
    listed = set(tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"])
    there = {".".join(path.parent.relative_to(project).parts) for path in CODE.rglob("__init__.py")}
    assert there | {"recipe.conf", "hydra_plugins.recipe_launcher"} == listed


def test_packages_are_those_of_the_tree() -> None:
    *above, lowest = layers()
    listed = {name for layer in above for name in layer}
    assert listed | set(lowest) == packages(CODE) | modules(CODE)
    assert listed == packages(CODE) | {"__main__", "train"}
    in_table = {name for row in re.findall(r"^\| (`.*?`) \|", TEXT, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert in_table == listed
    beside = re.search(r"^Modules that stand beside these packages(.*?)\n\n", TEXT, re.M | re.S)
    assert beside is not None
    assert set(re.findall(r"`(\w+)`", beside[1])) == set(lowest)


def test_the_picture_has_the_layers_in_their_order() -> None:
    drawn = re.findall(r"^│ (\w+) +(?:│ (\w+) +)?│", TEXT, re.M)
    assert [[name for name in line if name] for line in drawn] == layers()[:-1]


def test_files_that_the_page_names_are_there() -> None:
    named = re.findall(r"`([\w/]+\.(?:py|toml))`", TEXT)
    assert len(named) > 20
    missing = [name for name in named if not (PROJECT / name).exists() and not (CODE / name).exists()]
    assert not missing


def test_every_package_says_in_one_line_what_it_is() -> None:
    for path in CODE.rglob("__init__.py"):
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert said is not None, path
        assert re.fullmatch(r"[A-Z`\w].+\.", said), path


def test_files_stay_short() -> None:
    lines = {
        str(path.relative_to(PROJECT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("recipe", "tests")
        for path in (PROJECT / folder).rglob("*.py")
    }
    assert not {name for name, count in lines.items() if count > MOST_LINES}


def test_the_top_stays_small() -> None:
    assert len(modules(CODE)) <= MOST_AT_THE_TOP
    assert len(packages(CODE)) <= MOST_AT_THE_TOP


def test_no_two_classes_have_one_name() -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in CODE.rglob("*.py")]
    count = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert not {name for name, times in count.items() if times > 1}


def test_hydra_is_known_to_plan_train_and_what_starts_sweeps_alone() -> None:
    knowing = set()
    for path in CODE.rglob("*.py"):
        if re.search(r"^\s*(from|import) hydra\b", path.read_text(encoding="utf-8"), re.M):
            knowing.add(str(path.relative_to(CODE)))
    starts_sweeps = {f"sweep/{name}.py" for name in ("sweeper", "composing", "dry_run")}
    assert {name for name in knowing if not name.startswith("plan/")} == {"train.py", *LAUNCHERS, *starts_sweeps}
