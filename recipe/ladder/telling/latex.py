"""The tables of a report for a paper: one `tabular` for each comparison, in the style of the package booktabs."""

import re
from collections.abc import Sequence

from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.comparing.report import Report
from recipe.ladder.telling.layout import Column
from recipe.ladder.telling.tables import columns, findings

LEAST = 70  # importance of the columns that a paper has room for
SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {letter: "\\" + letter for letter in "&%$#_{}"}
SPECIAL |= {"±": r"$\pm$", "−": "$-$", "<": "$<$", ">": "$>$", "×": r"$\times$", "→": r"$\to$", "²": "$^2$"}
SPECIAL |= {"–": "--", "“": "``", "”": "''", "’": "'", "…": r"\ldots{}", "≤": r"$\leq$", "≥": r"$\geq$"}


def document(report: Report) -> str:
    r"""The tables as LaTeX, to be taken in by `\input`; what was found stands above each as a comment."""
    head = ["% Tables of recipe report. They need \\usepackage{booktabs}.", ""]
    return "\n".join([*head, *("\n".join(_table(each)) for each in report.comparisons)])


def _table(comparison: Comparison) -> list[str]:
    shown = [column for column in columns(comparison) if column.importance >= LEAST]
    caption = escaped(comparison.title)
    return [
        *(f"% {sentence}" for sentence in findings(comparison)),
        r"\begin{table}",
        rf"  \caption{{{caption}}}",
        r"  \centering",
        rf"  \begin{{tabular}}{{l{'r' * (len(shown) - 1)}}}",
        r"    \toprule",
        f"    {_line([column.header for column in shown])}",
        r"    \midrule",
        *(f"    {_line(cells)}" for cells in zip(*map(_cells, shown), strict=True)),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
        "",
    ]


def _cells(column: Column) -> list[str]:
    """Of a verdict the first word: how many seeds would tell is no part of a paper."""
    return [cell.partition(" (")[0] for cell in column.cells] if column.key == "verdict" else column.cells


def _line(cells: Sequence[str]) -> str:
    return " & ".join("{" + escaped(cell) + "}" if cell.startswith("[") else escaped(cell) for cell in cells) + r" \\"


def escaped(text: str) -> str:
    """Text with what LaTeX would take for its own written as letters."""
    return re.sub("|".join(map(re.escape, SPECIAL)), lambda found: SPECIAL[found[0]], text)
