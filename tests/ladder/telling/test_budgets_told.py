"""What a report says of gains at several budgets: in a terminal, in report.md, on the page, as a figure."""

from pathlib import Path

import pytest
from synthetic import write_run

from recipe.ladder.comparing.budgets import Ingredient, Series, series
from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.crossing import At
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import page, tables
from recipe.ladder.telling.budgets import columns, sentences, short
from recipe.ladder.telling.figures import draw

GAINS = {90: -4.0, 180: -1.0, 360: 3.0}  # of mixup, by epochs


def lined_up(*gains: tuple[float, float, float]) -> Series:
    """One ingredient, with a half interval at each budget."""
    at = [At(budget, mean, mean - half, mean + half) for budget, mean, half in gains]
    return Series("training images seen", [], [Ingredient("with mixup", at, ["" for _ in at])])


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ([(1e3, 2, 1), (2e3, 3, 1)], "with mixup helps at every budget from 1k to 2k training images seen."),
        ([(1e3, -2, 1), (2e3, -3, 1)], "with mixup hurts at every budget from 1k to 2k training images seen."),
        ([(1e3, 0, 1), (2e3, 0, 1)], "with mixup is unresolved at every budget from 1k to 2k training images seen."),
        (
            [(1e3, -3, 1), (1e6, 3, 1)],
            "with mixup hurts up to 13.1k training images seen and helps from 77.2k on (the crossing is between 13.1k "
            "and 76.5k with 95% confidence, the mean crosses 0 at 31.6k).",
        ),
    ],
    ids=["helps", "hurts", "open", "turns"],
)
def test_a_sentence_says_where_it_hurts_and_where_it_helps(gains: list[tuple[float, float, float]], said: str) -> None:
    (sentence,) = sentences(lined_up(*gains))
    assert sentence.split(" up to ")[0] == said.split(" up to ")[0]
    if "crossing" in said:
        assert "crosses 0 at 31.6k" in sentence
        assert "with 95% confidence" in sentence
    else:
        assert sentence == said


def test_numbers_of_images_are_short() -> None:
    assert [short(number) for number in (512, 9469, 512_000, 768_600_000)] == ["512", "9.47k", "512k", "769M"]


def test_a_budget_that_a_setting_was_not_run_at_is_empty() -> None:
    one, other = lined_up((1e3, 2, 1), (2e3, 3, 1)), lined_up((2e3, 1, 1), (4e3, 3, 1))
    both = Series("training images seen", [], [*one.ingredients, *other.ingredients])
    shown = columns(both)
    assert [column.header for column in shown] == ["setting", "1k", "2k", "4k"]
    assert shown[1].cells == ["+2.00 [+1.00, +3.00]", ""]


def test_every_form_of_the_report_has_them(tmp_path: Path) -> None:
    for epochs, gain in GAINS.items():
        for seed, noise in enumerate((-0.3, 0.0, 0.3)):
            for with_, acc1 in ((None, 50.0 - noise), ("mixup", 50.0 + gain + noise)):
                differences = {"epochs": epochs} | ({"mix.mixup_alpha": 0.2, "with": "mixup"} if with_ else {})
                write_run(
                    tmp_path / str(epochs),
                    "v2",
                    seed,
                    acc1,
                    differences=differences,
                    with_=with_,
                    overrides=[f"epochs={epochs}"],
                    images_seen=epochs * 1000,
                )
    runs = collect([tmp_path])
    comparisons = compare(runs)
    report = Report([tmp_path], comparisons, runs, series=series(comparisons))
    drawings = draw(report, tmp_path / "figures")
    page.write(report, drawings, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    pictures = [(one.comparison, one.caption, f"figures/{one.svg.name}") for one in drawings.values()]
    markdown = tables.markdown(report, pictures)
    for told in (tables.text(report, 160), markdown, html):
        assert "v2 with one more ingredient at a time: gain against training images seen" in told
        assert "with mixup hurts up to" in told
        assert "−4.00 [" in told
    assert markdown.count("(figures/budgets.svg)") == 1
    assert drawings["budgets"].caption in html
    assert drawings["budgets"].svg.stat().st_size > 10_000
    assert max(map(len, tables.text(report, 80).splitlines())) <= 80
