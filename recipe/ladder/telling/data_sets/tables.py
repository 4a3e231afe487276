"""Gains on several data sets in sentences, as a table for any medium, and as CSV."""

import math
import textwrap
from collections.abc import Iterator, Sequence

from recipe.ladder.comparing.comparison import AcrossData, MeanGain
from recipe.ladder.telling import layout
from recipe.ladder.telling.layout import Column
from recipe.ladder.telling.wording import interval, p_value, signed
from recipe.output import count

NAMED = 4  # findings of a kind that a sentence names


def title(across: AcrossData) -> str:
    """Its heading."""
    images = "the test images of " * across.on_test
    return f"On {images}{count(len(across.data), 'data set')}: {', '.join(across.data)}"


def text(across: AcrossData, width: int) -> str:
    """Heading, findings and table for a terminal."""
    said = [textwrap.fill(line, width, break_long_words=False) for line in (title(across), *findings(across))]
    return "\n".join([*said, "", *layout.lines(layout.fitted(columns(across), width))])


def markdown(across: AcrossData) -> str:
    """The same as Markdown."""
    return f"## {title(across)}\n\n{' '.join(findings(across))}\n\n{markdown_table(columns(across))}"


def markdown_table(shown: Sequence[Column]) -> str:
    """Columns as a Markdown table."""
    body = zip(*(column.cells for column in shown), strict=True)
    rows = [[column.header for column in shown], ["---"] * len(shown), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def findings(across: AcrossData) -> list[str]:
    """What was found, in sentences, and how far it goes."""
    number = len(across.data)
    called = {verdict: [gain for gain in across.gains if gain.verdict == verdict] for verdict in ("helps", "hurts")}
    told = [(verdict, gains) for verdict, gains in called.items() if gains]
    said = [f"{verdict.capitalize()} on data sets like these: {_named(gains)}." for verdict, gains in told]
    if not said:
        said = ["No gain is sure to be there on another data set."]
    if number == 2:
        said.append(
            "With 2 data sets intervals of the mean are very wide, 12.7 standard errors to each side (Student's t of "
            "one degree of freedom): they tell next to nothing of a third one."
        )
    said.append(
        f"The mean counts each data set alike; its interval and p take the {number} for a sample of such data sets "
        "(docs/STATISTICS.md), after Holm for p. Better: probability that a run is more accurate than one of the "
        "setting compared with (Agarwal et al., 2021), on these data sets. Rank: mean over them, 1 the best."
    )
    return said


def columns(across: AcrossData) -> list[Column]:
    """The table: settings by gain on each data set, mean, and how often and how surely it is one."""
    gains = {gain.label: gain for gain in across.gains}
    first = [label for label in dict.fromkeys([*across.ranks, *(gain.over for gain in across.gains)])]
    labels = [*(label for label in first if label not in gains), *gains]
    found = [gains.get(label) for label in labels]
    over = [gain.over if gain else "" for gain in found]
    usual = ["", *labels[:-1]]
    plain = all(not given or given in (before, labels[0]) for given, before in zip(over, usual, strict=True))
    several = [
        Column("", data, [_on(gain, place) for gain in found], 84 if len(across.data) <= 4 else 50)
        for place, data in enumerate(across.data)
    ]
    shown = [
        Column("label", "rung" if across.shape == "ladder" else "setting", labels, 100),
        Column("over", "over", [] if plain and across.shape == "ladder" else over, 60),
        *several,
        Column("", "mean [95%]", [_mean(gain) for gain in found], 90),
        Column("", "p", [p_value(gain.adjusted) if gain else "" for gain in found], 75),
        Column("verdict", "verdict", [gain.verdict if gain else "" for gain in found], 85),
        Column("", "better [95%]", [_better(gain) for gain in found], 70, [_share(gain) for gain in found]),
        Column("", "rank", [f"{across.ranks[label]:.1f}" if label in across.ranks else "" for label in labels], 65),
    ]
    return [column for column in shown if any(column.cells)]


def lines(across: AcrossData) -> Iterator[dict[str, object]]:
    """A line of data_sets.csv for each setting on each data set, and one for the mean over them."""
    for gain in across.gains:
        images = "test" if across.on_test else "val"
        about = {"shape": across.shape, "images": images, "setting": gain.label, "over": gain.over}
        for data, one in zip(across.data, gain.by_data, strict=True):
            if one is not None:
                yield {
                    **about,
                    "data": data,
                    "n": one.n,
                    "gain": one.gain,
                    "low": one.low,
                    "high": one.high,
                    "standard_error": one.error,
                    "p": None,
                    "p_holm": None,
                    "verdict": one.verdict,
                    "better": one.better,
                    "better_low": None,
                    "better_high": None,
                    "rank": None,
                }
        yield {
            **about,
            "data": "mean",
            "n": sum(one is not None for one in gain.by_data),
            "gain": gain.mean,
            "low": gain.low,
            "high": gain.high,
            "standard_error": None,
            "p": gain.p,
            "p_holm": gain.adjusted,
            "verdict": gain.verdict,
            "better": gain.better,
            "better_low": gain.better_low,
            "better_high": gain.better_high,
            "rank": across.ranks.get(gain.label),
        }


def _named(gains: list[MeanGain]) -> str:
    told = [f"{gain.label} by {signed(gain.mean)} points ({interval(gain.low, gain.high)})" for gain in gains[:NAMED]]
    return "; ".join([*told, *([f"{len(gains) - NAMED} more"] if len(gains) > NAMED else [])])


def _on(gain: MeanGain | None, place: int) -> str:
    one = gain.by_data[place] if gain else None
    return signed(one.gain) if one else ""


def _mean(gain: MeanGain | None) -> str:
    if gain is None:
        return ""
    ends = "" if math.isnan(gain.low) else f" [{signed(gain.low)}, {signed(gain.high)}]"
    return f"{signed(gain.mean)}{ends}"


def _better(gain: MeanGain | None) -> str:
    if gain is None or math.isnan(gain.better_low):
        return _share(gain)
    return f"{gain.better:.2f} [{gain.better_low:.2f}, {gain.better_high:.2f}]"


def _share(gain: MeanGain | None) -> str:
    return f"{gain.better:.2f}" if gain else ""
