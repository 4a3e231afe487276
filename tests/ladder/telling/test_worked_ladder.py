"""docs/STATISTICS.md's worked ladder and its table of dispersions: as the kept records say."""

import importlib.util
import re
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import tables

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/STATISTICS.md"
RECORDS = ROOT / "docs/results/evidence"


def _dispersion() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dispersion", ROOT / "benchmarks" / "dispersion.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _unpacked(pattern: str, folder: Path) -> Path:
    for archive in sorted(RECORDS.glob(pattern)):
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
    return folder


@pytest.mark.slow
def test_the_page_quotes_the_report_on_the_kept_records(tmp_path: Path) -> None:
    runs = collect([_unpacked("ladder_512/*~seed=[01].tar.xz", tmp_path)])
    comparisons = compare(runs)
    said = tables.text(Report([tmp_path], comparisons, runs), 116, with_why=True)
    quoted = re.findall(r"^```\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(quoted) == 2
    for block in quoted:
        assert block.rstrip() in said
    [comparison] = comparisons
    assert f"Bartlett's p over the rungs is {comparison.spreads_p:.2f}" in PAGE.read_text("utf-8")


@pytest.mark.slow
def test_the_table_of_dispersions_is_the_script_s(tmp_path: Path) -> None:
    dispersion = _dispersion()
    ladder = _unpacked("ladder_512/*~seed=[01].tar.xz", tmp_path / "ladder")
    control = _unpacked("control_r01/*.tar.xz", tmp_path / "control")
    found = dispersion.lines([*dispersion.of_runs(ladder), *dispersion.of_runs(control)])
    table = "\n".join(found[: found.index("")])
    assert table in PAGE.read_text("utf-8")


def test_a_dispersion_s_interval_holds_the_truth_in_95_of_100() -> None:
    dispersion = _dispersion()
    drawn = np.random.default_rng(0).normal(0, 2.0, (4000, 5)).var(axis=1, ddof=1)  # a variance of 4
    covered = np.mean([low < 4 < high for low, high in (dispersion.interval(each, 4) for each in drawn)])
    assert 0.94 < covered < 0.96
