"""The looks that a sweep has taken, in sentences, and how each comparison stands after a look."""

from collections.abc import Iterator

from recipe.ladder.comparing import looks
from recipe.ladder.comparing.comparison import Comparison, Row
from recipe.ladder.comparing.looks import Standing
from recipe.ladder.reading.looks_taken import Design
from recipe.ladder.telling.wording import p_value, signed
from recipe.output import count


def sentences(comparison: Comparison) -> Iterator[str]:
    """What the looks at a table were, and at which of them each comparison ended; nothing where none were taken."""
    if comparison.looks is None:
        return
    design, taken = comparison.looks.design, len(comparison.looks.looks)
    at = _listed([f"{seeds}" for seeds in design.counts[:taken]])
    were = "was" if taken == 1 else "were"
    yield (
        f"Trained until resolved: {count(taken, 'look')} of at most {len(design.counts)} {were} taken, at {at} seeds "
        f"(max_seeds={design.counts[-1]}); p and verdicts pay for all of them. {_spent(design)} Intervals, totals and "
        "the paired test are those of a single look."
    )
    rows = [row for row in comparison.rows if row.gain is not None and row.gain.standing is not None]
    yield f"Looked at: {'; '.join(map(_ended, rows))}."


def _spent(design: Design) -> str:
    if design.smallest is None:
        return "Of the 5%, each look has its part."
    return (
        f"Of the 5%, {100 * design.of_gains:.3g}% are for helps and hurts, {100 * design.of_smaller:.3g}% for smaller "
        f"than {design.smallest:g}; each look has its part."
    )


def _ended(row: Row) -> str:
    assert row.gain is not None
    assert row.gain.standing is not None
    standing = row.gain.standing
    if standing.decided == looks.OPEN:
        return f"{row.label} {'at max_seeds' if standing.at_end else 'open'}"
    return f"{row.label} resolved at {count(standing.last.n, 'seed')}"


def line(label: str, over: str, standing: Standing, verdict: str, most: int) -> str:
    """How a comparison stands after a look: open, resolved or at max_seeds.

    Args:
        label, over: names of the two settings.
        standing: after the look.
        verdict: in words.
        most: max_seeds.
    """
    seen = standing.last
    at = f"{signed(seen.mean)} points over {count(seen.n, 'seed')}" if seen.n else "no shared seeds"
    p = p_value(standing.adjusted)
    if standing.decided != looks.OPEN:
        state = f"resolved: {verdict}"
    else:
        state = f"at max_seeds={most}, unresolved" if standing.at_end else "open"
    return f"{label} over {over}: {state} ({at}, p {p if p.startswith('<') else f'= {p}'})"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
