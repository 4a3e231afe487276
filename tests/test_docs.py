"""What the documentation repeats, it repeats correctly."""

import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

from recipe.plan.compose import PROJECT, Plan

README = (PROJECT / "README.md").read_text()


def ladder_table(plan: Callable[..., Plan]) -> str:
    """The rows of README's table, from the rungs' files."""
    rows, below = ["| rung | what is new | top-1 | top-5 | gain |", "|---|---|---|---|---|"], None
    for path in sorted((PROJECT / "conf" / "recipe").glob("r*.yaml")):
        what = re.search(r"# Rung \d+: (.*)\.\n", path.read_text())
        published = plan(f"+recipe={path.stem}").rung.published
        gain = "" if below is None else f"{published['acc1'] - below:+.3f}"
        below = published["acc1"]
        assert what is not None
        rows.append(f"| `{path.stem}` | {what[1]} | {published['acc1']:.3f} | {published['acc5']:.3f} | {gain} |")
    return "\n".join(rows)


def test_table_of_rungs_is_that_of_their_files(plan: Callable[..., Plan]) -> None:
    written = re.search(r"<!-- ladder -->\n(.*)\n<!-- /ladder -->", README, re.DOTALL)
    assert written is not None
    assert written[1] == ladder_table(plan)


def test_table_of_scales_is_what_they_do(plan: Callable[..., Plan]) -> None:
    for scale in ("imagenet", "small", "cifar", "demo"):  # tiny has a model of its own
        config = plan("+recipe=v2", f"scale={scale}").config
        micro_batches = config.batch_size // config.micro_batch_size
        model = config.model.name.replace("resnet", "ResNet-")
        sizes = f"{config.resolution.train_crop} / {config.resolution.val_crop}"
        batches = f"{config.batch_size} = {micro_batches} x {config.micro_batch_size}"
        assert f"| `{scale}` | {model} | {config.epochs} | {sizes} | {batches} |" in README


def test_commands_of_the_documentation_are_valid(plan: Callable[..., Plan], tmp_path: object) -> None:
    one_job = README.replace("'+recipe=glob(r*)' seed=0,1,2", "+recipe=r12_repeated_augmentation seed=2")
    commands = re.findall(r"train\.py (?:-m )?(\+recipe=[^\n#]*)", one_job)
    assert len(commands) >= 4
    for command in commands:
        words = [word for word in command.strip("`;, ").split() if word != "--cfg" and word != "job"]
        words = [re.sub(r"data\.root=\S+", f"data.root={tmp_path}", word).split("`")[0] for word in words]
        plan(*[word.split(",")[0] for word in words if word.startswith(("+", "data", "scale"))])


def test_example_rung_is_a_real_one() -> None:
    example = re.search(r"# conf/(recipe/\S+)\n(.*?)```", README, re.DOTALL)
    assert example is not None
    assert example[2].strip() in (PROJECT / "conf" / example[1]).read_text()


def test_commands_that_name_tests_select_some() -> None:
    text = "".join((PROJECT / "docs" / f"{name}.md").read_text() for name in ("FIDELITY", "RELIABILITY", "PERFORMANCE"))
    commands = re.findall(r'`(?:pytest )?(tests/\S+\.py)(?: -k (?:"([^"]*)"|(\w+)))?`', text)
    assert len(commands) > 43
    files = sorted({file for file, _, _ in commands})
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", "addopts=", *files]
    listed = subprocess.run(collect, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=True).stdout
    for file, quoted, word in commands:
        words = (quoted or word).split(" or ")
        selected = [line for line in listed.splitlines() if line.startswith(file) and any(w in line for w in words)]
        assert selected, f"{file} -k {quoted or word}"


def sources() -> Iterator[tuple[Path, str]]:
    """Files under version control in which people read, with their text; of code, its comments and docstrings."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        path = PROJECT / name
        if path.exists() and (path.suffix in {".md", ".py", ".toml", ".yaml", ".yml"} or path.name == "Makefile"):
            yield path, comments_of(path) if path.suffix == ".py" else path.read_text()


def comments_of(path: Path) -> str:
    with path.open("rb") as file:
        tokens = list(tokenize.tokenize(file.readline))
    return "\n".join(token.string for token in tokens if token.string.startswith(("#", '"""')))


def paths_in(text: str) -> set[str]:
    """Paths below the project's folders, and names of Python files. CAPITALS stand for a name of the reader's own."""
    below = re.findall(
        r"(?<![\w/.=+-])((?:recipe|tests|conf|docs|benchmarks|hydra_plugins|\.github)/[\w./*-]*[\w*])", text
    )
    modules = re.findall(r"(?<![\w/.*-])((?:[a-z_]+/)*[a-z_]+\.py)\b", text)
    return {path for path in (*below, *modules) if not re.search(r"[A-Z]{2,}\.(py|yaml)$", path)}


OF_SOURCES = {"train_imagenet.py"}  # ffcv-imagenet's


def is_there(path: str) -> bool:
    """As a path from the project's folder, or as the end of one; or it is a file of a recipe's source."""
    if path in OF_SOURCES:
        return True
    return any(True for _ in PROJECT.glob(path)) or ("*" not in path and path in ENDS)


ENDS = {
    "/".join(path.relative_to(PROJECT).parts[-length:])
    for folder in ("recipe", "tests", "benchmarks", "hydra_plugins")
    for path in [*(PROJECT / folder).rglob("*.py"), PROJECT / "train.py"]
    for length in range(1, len(path.relative_to(PROJECT).parts) + 1)
}


def test_every_path_that_a_document_or_comment_names_is_there() -> None:
    found = [(path, name) for path, text in sources() for name in paths_in(text)]
    assert len(found) > 150
    gone = [f"{path.relative_to(PROJECT)}: {name}" for path, name in found if not is_there(name)]
    assert gone == []
