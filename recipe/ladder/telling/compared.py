"""Which comparisons a table makes, and why those, in sentences."""

from collections.abc import Sequence

from recipe.ladder.comparing.comparison import SAME, Comparison, Row
from recipe.output import count

NAMED = 3  # keys and rows that a sentence names


def which(comparison: Comparison) -> list[str]:
    """What each row is compared with, and where that is not the nearest row, why. Nothing for a single row."""
    tested = [row for row in comparison.rows[1:] if row.gain and row.gain.difference.n > 1]
    rows = comparison.rows[1:]
    if not rows:
        return []
    allowed = f"; p allows for these {count(len(tested), 'comparison')} (Holm)" if len(tested) > 1 else ""
    said = [f"Compared: {_in_general(comparison)}{allowed}."]
    labels = {row.name: row.label for row in comparison.rows}
    said += [_passed_over(row, labels) for row in rows if row.passed_over]
    same = [row for row in rows if row.gain and row.gain.verdict == SAME]
    if same:
        pairs = [f"{row.label} and {labels[row.parent or '']}" for row in same[:NAMED]]
        more = [f"{len(same) - NAMED} more"] if len(same) > NAMED else []
        said.append(f"One training, evaluated alike, and so not tested: {'; '.join(pairs + more)}.")
    return said


def _in_general(comparison: Comparison) -> str:
    first = comparison.rows[0].label
    if comparison.shape == "ladder":
        return "each rung with the nearest below it that was run with the same other values"
    if all(row.parent == comparison.rows[0].name for row in comparison.rows[1:]):
        return f"each setting with {first}"
    return f"each setting with the nearest that was run, in one value alone where there is such a one, first {first}"


def _passed_over(row: Row, labels: dict[str, str]) -> str:
    assert row.passed_over is not None
    nearer, several = row.passed_over
    return (
        f"{row.label} with {labels[row.parent or '']}, from which it differs in {_listed(row.differs)}: from {nearer} "
        f"it differs in {_listed(several)} at once, which is no contrast."
    )


def _listed(keys: Sequence[str]) -> str:
    more = [f"{len(keys) - NAMED} more"] if len(keys) > NAMED else []
    return " and ".join([", ".join([*keys[:NAMED]]), *more]) if keys else "nothing"
