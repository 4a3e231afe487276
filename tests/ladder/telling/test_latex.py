"""Tables for a paper: what stands in them, and that LaTeX takes them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import LADDER, write_run

from recipe.ladder.telling.latex import escaped

PAPER = r"""
\documentclass{article}
\usepackage{booktabs}
\begin{document}
\input{report}
\end{document}
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("latex")
    for number, recipe in enumerate(LADDER[:4]):
        for seed in range(3):
            write_run(tmp_path / "runs", recipe, seed, 50.0 + 2 * number + 0.1 * seed, differences={"mix": "50%_&~^"})
    command = [sys.executable, "-m", "recipe", "report", "runs", "--latex", "--no-figures", "--out", "."]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "LaTeX: report.tex" in said
    return tmp_path / "report.tex"


def test_tables_have_gains_and_one_word_for_a_verdict(report: Path) -> None:
    text = report.read_text()
    (row,) = [line for line in text.splitlines() if line.strip().startswith(r"r01\_lr\_optimizations &")]
    _, n, top1, gain, _, verdict = (cell.strip() for cell in row.removesuffix(r"\\").split("&"))
    assert (n, top1, verdict) == ("3", r"52.10 $\pm$ 0.10", "helps")
    assert gain.startswith("+2.00 [")
    assert r"50\%\_\&\textasciitilde{}\textasciicircum{}" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_sets_them(report: Path) -> None:
    (report.parent / "paper.tex").write_text(PAPER)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    ended = subprocess.run(command, cwd=report.parent, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert (report.parent / "paper.pdf").stat().st_size > 1000


def test_every_letter_of_latex_is_escaped() -> None:
    assert escaped(r"\a_b{c}") == r"\textbackslash{}a\_b\{c\}"
