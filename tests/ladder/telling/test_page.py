"""The page of a report can be read, sorted and trusted: looked at in a real browser."""

import itertools
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import CHROMIUM, DRIVER, Browser, browser
from synthetic import LADDER, write_ladder, write_run

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import figures, page

EVIL = "<script>document.title='broken'</script>"
EVIL_IMAGE = '"><img src=x onerror="document.title=1">'
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")


def report_of(root: Path) -> Report:
    runs = collect([root])
    return Report([root], compare(runs), runs)


def only(root: Path) -> Comparison:
    (comparison,) = report_of(root).comparisons
    return comparison


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a ladder, with classes, folders and versions that would break a page that trusts them."""
    root = tmp_path_factory.mktemp("runs") / ('a<b onclick="x">' + "long" * 20)
    gains = dict(zip(LADDER, (0, 8, -3, *[0.1] * 5), strict=False))
    write_ladder(root, gains, seeds=3, sd=0.3)
    for path in root.rglob("environment.json"):
        environment = json.loads(path.read_text())
        environment["classes"] = [EVIL, EVIL_IMAGE, "it's & so", "pear"]
        environment["starts"][0] |= {"git": {"commit": "c0ffee" * 6, "changed": True}, "packages": {"torch": EVIL}}
        path.write_text(json.dumps(environment))
    write_run(root, LADDER[1], 7, finished=False)
    (write_run(root, LADDER[2], 8) / "result.json").write_text("{" + EVIL)
    report = report_of(root)
    path = root.parent / "report.html"
    page.write(report, figures.draw(report, root.parent / "figures"), path)
    return path


@pytest.fixture(scope="module")
def laptop() -> Iterator[Browser]:
    with browser(1400, 900) as window:
        yield window


@pytest.fixture(scope="module")
def phone() -> Iterator[Browser]:
    with browser(390, 844, phone=True) as window:
        yield window


class Elements(HTMLParser):
    """The start tags of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_page_needs_nothing_from_elsewhere(written: Path) -> None:
    text = written.read_text()
    elements = Elements(text).found
    addresses = [about[name] or "" for _, about in elements for name in ("src", "href", "srcset") if name in about]
    assert len(addresses) >= 4
    assert [address[:30] for address in addresses if not address.startswith(("data:image/svg+xml;base64,", "#"))] == []
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert {tag for tag, _ in elements} & {"link", "iframe", "object", "embed"} == set()


def test_texts_of_run_folders_are_escaped(written: Path) -> None:
    elements = Elements(written.read_text()).found
    assert [tag for tag, _ in elements].count("script") == 1
    assert [tag for tag, _ in elements].count("b") == 0
    assert not [about for tag, about in elements if tag == "img" and not (about["src"] or "").startswith("data:")]
    assert not [name for _, about in elements for name in about if name.startswith("on")]


@needs_browser
def test_texts_of_run_folders_are_shown_as_they_are(written: Path, laptop: Browser) -> None:
    laptop.open(written)
    laptop.run("for (const each of document.querySelectorAll('details')) each.open = true")
    text = laptop.run("return document.body.innerText")
    for told in (EVIL, EVIL_IMAGE, "it's & so", 'a<b onclick="x">', "c0ffeec0ffee and uncommitted changes"):
        assert told in text
    assert laptop.run("return document.title") == "What the runs say"
    assert laptop.complaints() == []


@needs_browser
def test_page_loads_nothing_even_where_a_text_were_not_escaped(written: Path, laptop: Browser, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(written.read_text().replace("</body>", EVIL + "<img src=x onerror=document.title=1></body>"))
    laptop.open(broken)
    assert laptop.run("return document.title") == "What the runs say"
    assert laptop.run("return fetch('data:,x').then(() => 'loaded', () => 'refused')") == "refused"
    refused = [complaint for complaint in laptop.complaints() if "Content Security Policy" in complaint]
    assert len(refused) >= 3, "the script, the image and the fetch"


@needs_browser
def test_nothing_hangs_over_the_edge_of_a_phone(written: Path, phone: Browser) -> None:
    phone.open(written)
    phone.run("for (const each of document.querySelectorAll('details')) each.open = true")
    assert phone.run("return innerWidth") == 390
    assert phone.run("return document.documentElement.scrollWidth") <= 390
    outside = """return [...document.querySelectorAll('h1, h2, h3, p, li, dt, dd, summary, figcaption, .scroll')]
        .filter(each => each.getBoundingClientRect().right > 390).map(each => each.outerHTML.slice(0, 80))"""
    assert phone.run(outside) == []


@needs_browser
def test_first_column_stays_where_a_table_is_scrolled(written: Path, phone: Browser) -> None:
    phone.open(written)
    phone.run("document.querySelector('.scroll').scrollLeft = 200")
    left = "return document.querySelector('{}').getBoundingClientRect().left - document.querySelector('.scroll').{}"
    assert phone.run("return document.querySelector('.scroll').scrollLeft") == 200
    assert phone.run(left.format("tbody th", "getBoundingClientRect().left")) == pytest.approx(0, abs=1)
    assert phone.run(left.format("tbody td", "getBoundingClientRect().left")) < 0
    width = phone.run("return document.querySelector('tbody th').offsetWidth")
    assert 100 < width < 200, "the names take all of the screen, or are cut to single letters"


def column(window: Browser, name: str) -> list[str]:
    """The cells of a column of the first table, as they stand."""
    return window.run(
        f"""const table = document.querySelector('table');
        const names = [...table.tHead.rows[0].cells].map(cell => cell.innerText.trim());
        const place = names.findIndex(each => each.startsWith({name!r}));
        return [...table.tBodies[0].rows].map(row => row.cells[place].innerText)"""
    )


def click(window: Browser, name: str) -> str:
    """Click on a header of the first table. Returns its aria-sort."""
    return window.run(
        f"""const header = [...document.querySelectorAll('table th[scope=col]')]
            .find(each => each.innerText.trim().startsWith({name!r}));
        header.querySelector('button').click();
        return header.getAttribute('aria-sort')"""
    )


@needs_browser
def test_click_on_a_header_sorts_by_value_and_again_the_other_way(written: Path, laptop: Browser) -> None:
    laptop.open(written)
    rungs = column(laptop, "setting")
    assert rungs == list(LADDER[:8])
    gains = [float(text.replace("−", "-")) for text in column(laptop, "gain") if text]
    assert gains != sorted(gains)
    assert column(laptop, "gain")[0] == "", "the baseline has none"
    for direction, reverse in (("ascending", False), ("descending", True)):
        assert click(laptop, "gain") == direction
        assert column(laptop, "gain")[-1] == "", "unknown comes last, whichever way"
        sorted_gains = [float(text.replace("−", "-")) for text in column(laptop, "gain")[:-1]]
        assert sorted_gains == sorted(gains, reverse=reverse)
    assert click(laptop, "setting") == "ascending"
    assert column(laptop, "setting") == rungs, "back to the order of the ladder"
    assert laptop.run("return document.querySelector('table').querySelectorAll('[aria-sort]').length") == 1


@needs_browser
def test_header_is_reached_and_used_with_the_keyboard(written: Path, laptop: Browser) -> None:
    laptop.open(written)
    laptop.run("document.querySelector('table').closest('.scroll').focus()")
    laptop.press("\ue004")  # tab: from the table's box to its first header
    laptop.press("\ue004")
    assert laptop.run("return document.activeElement.closest('th').cellIndex") == 1
    laptop.press("\ue007")  # enter
    assert laptop.run("return document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"


@needs_browser
def test_tables_of_a_whole_ladder_fit_a_laptop(tmp_path: Path, laptop: Browser) -> None:
    """With published figures, pooled and paired p: all that a table may have."""
    for number, (recipe, seed) in enumerate(itertools.product(LADDER, range(3))):
        write_run(tmp_path, recipe, seed, 76 + number / 13 + (7 * number % 5) / 20, original=True, predictions=False)
    page.write(report_of(tmp_path), {}, tmp_path / "report.html")
    laptop.open(tmp_path / "report.html")
    headers = laptop.run("return [...document.querySelector('table').tHead.rows[0].cells].map(c => c.textContent)")
    assert {"adjusted p", "paired p", "verdict", "total gain", "published", "published gain"} <= set(headers)
    wide = "return [...document.querySelectorAll('.scroll')].map(box => box.scrollWidth - box.clientWidth)"
    assert max(laptop.run(wide)) <= 0


@needs_browser
def test_why_a_verdict_is_what_it_is_unfolds(written: Path, laptop: Browser) -> None:
    laptop.open(written)
    shown = (
        "return [...document.querySelectorAll('details li')].filter(e => e.checkVisibility()).map(e => e.textContent)"
    )
    assert laptop.run(shown) == []
    laptop.run("document.querySelector('details summary').click()")
    said = " ".join(laptop.run(shown))
    for word in (
        "Seed by seed (0, 1, 2)",
        "standard deviation",
        "Pooled spread",
        "standard error",
        "Holm",
        "Threshold",
    ):
        assert word in said


def test_losses_have_a_table(written: Path) -> None:
    text = written.read_text()
    for header in ("training, last epoch", "validation, last epoch", "training, best epoch", "validation, best epoch"):
        assert f"{header}</button>" in text
    assert "training top-1, %</button>" in text


def test_gain_that_costs_less_has_no_price(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path / "runs", "v2", seed, 50.0 + seed, device_seconds=3600)
        cheaper = {"optimizer.lr": 1.0}
        write_run(tmp_path / "runs", "v2", seed, 60.0 + seed, differences=cheaper, device_seconds=1800)
    report = report_of(tmp_path / "runs")
    page.write(report, {}, tmp_path / "report.html")
    costs = (tmp_path / "report.html").read_text().partition("What it costs")[2].partition("</table>")[0]
    assert ">costs less</td>" in costs
    assert "−" not in costs


def test_runs_left_out_are_named_with_the_reason(written: Path) -> None:
    text = written.read_text()
    part = text[text.index("Runs left out") : text.index("How to read this")]
    assert "not finished" in part
    assert "cannot read result.json" in part
    assert part.count("<tr>") >= 3


def test_report_without_a_finished_run_is_a_page(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "v2", 0, finished=False)
    report = report_of(tmp_path / "runs")
    page.write(report, figures.draw(report, tmp_path), tmp_path / "report.html")
    assert "not finished" in (tmp_path / "report.html").read_text()
