"""Tables fit every terminal, cut no figure, and name the runs that they lack."""

import shutil
from pathlib import Path

import pytest
from synthetic import LADDER, write_ladder, write_run

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import csv_files, tables


def report_on(root: Path) -> Report:
    runs = collect([root])
    return Report([root], compare(runs), runs)


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """A ladder with a clear gain, a clear loss and noise; lost runs; a sweep; a trial."""
    gains = dict(zip(LADDER, [0, 2.0, 0.02, -1.5, 0.05], strict=False))
    write_ladder(tmp_path, gains, seeds=5, sd=0.1)
    write_ladder(tmp_path, {"r12_repeated_augmentation": 5.0}, seeds=5, sd=0.1)
    (tmp_path / LADDER[2] / "seed=4" / "result.json").unlink()
    shutil.rmtree(tmp_path / LADDER[3] / "seed=4")
    for seed in range(5):
        for rate in (0.25, 1.0):
            write_run(tmp_path, LADDER[1], seed, 50 + rate + seed / 9, differences={"optimizer.lr": rate})
    write_run(tmp_path, "v1", differences={"max_steps": 3})
    return report_on(tmp_path)


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_tables_fit_the_terminal_and_no_figure_is_cut(report: Report, width: int) -> None:
    text = tables.text(report, width)
    assert max(map(len, text.splitlines())) <= width
    ladder = report.comparisons[0]
    for row in ladder.rows:
        (line,) = (line for line in text.splitlines() if line.startswith(row.label[:20]) and " ± " in line)
        assert f"{row.mean:.2f} ± {row.sd:.2f}" in line
        if row.gain is not None:
            low, high = (f"{v:+.2f}".replace("-", "−") for v in row.gain.interval)
            assert f"[{low}, {high}]" in line
            assert {"helps": "helps", "hurts": "hurts"}.get(row.gain.verdict, "") in line


def test_wider_terminals_show_more(report: Report) -> None:
    shown = [[column.key for column in tables.fitted(report.comparisons[0], width)[0]] for width in (80, 140, 250)]
    assert {"label", "n", "top1", "gain", "verdict"} <= set(shown[0])
    assert set(shown[0]) < set(shown[1]) <= set(shown[2])
    assert {"total", "cost", "p"} <= set(shown[1])
    assert {"highest", "best_epoch", "top5", "published"} <= set(shown[2])


def test_losses_have_a_table_of_their_own_with_both_epochs_at_80_columns(report: Report) -> None:
    """r12's label is the longest; its runs end with a best epoch of 0.1 points more, and so a loss of 0.002 less."""
    lines = tables.text(report, 80).splitlines()
    begin = lines.index("Losses in the last epoch and in the best one (mean over the runs):")
    assert lines[begin + 1].split("  ")[-4:] == ["val, last", "train, best", "val, best", "epoch"]
    label = "r12_repeated_augmentation"
    (row,) = (row for row in report.comparisons[0].rows if row.label == label)
    (cells,) = (line.split() for line in lines[begin:] if line.startswith(label) and "/" not in line)
    assert [float(cell) for cell in cells[1:]] == pytest.approx(
        [2, 3 - row.mean / 50, 2, 3 - row.mean / 50 - 0.002, 3], abs=6e-4
    )


def test_verdicts_and_counts_are_told(report: Report) -> None:
    ladder = report.comparisons[0]
    verdicts = {row.label: row.gain.verdict for row in ladder.rows if row.gain is not None}
    assert (verdicts[LADDER[1]], verdicts[LADDER[3]]) == ("helps", "hurts")
    assert verdicts[LADDER[2]].startswith("unresolved (")
    said = " ".join(tables.findings(ladder))
    assert "Runs: 28 finished, 1 unfinished or unreadable, 1 without a folder." in said
    assert f"{ladder.detectable:.2f} points" in said
    assert f"{LADDER[1]} by" in said
    assert "Spearman" in said
    text = tables.text(report, 200)
    assert verdicts[LADDER[2]].removeprefix("unresolved (about ")[:2] in text
    assert f"not finished:\n  {LADDER[2]}/seed=4" in text
    assert f"no folder:\n  {LADDER[3]}, seed 4" in text
    assert "In no table:\na trial of 3 steps:\n  v1~max_steps=3/seed=0" in text
    assert " 4/5 " in text


def test_short_verdicts_keep_their_meaning() -> None:
    full = {
        "helps": "helps",
        "unresolved (about 23 seeds would tell)": "open: ~23 seeds",
        "unresolved (one seed)": "one seed",
        "unresolved (no difference that seeds could show)": "open",
        "not compared (no shared seed)": "not compared",
    }
    assert {verdict: tables._shortened(verdict) for verdict in full} == full


def test_sweep_shows_its_values(report: Report) -> None:
    sweep = report.comparisons[1]
    lines = tables.fitted(sweep, 80)[1]
    assert lines[0].startswith("optimizer.lr")
    assert [line.split()[0] for line in lines[2:]] == ["0.1", "0.25", "1"]


def test_total_is_told_where_it_is_another_figure_than_the_gain(report: Report) -> None:
    shown = [{column.key for column in tables.columns(comparison)} for comparison in report.comparisons]
    assert [comparison.shape for comparison in report.comparisons] == ["ladder", "sweep"]
    assert ["total" in keys for keys in shown] == [True, False]


def test_row_that_is_not_over_the_row_above_names_what_it_is_over(tmp_path: Path) -> None:
    write_ladder(tmp_path, {"r00_baseline": 0.0, "v1": 0.0, "r01_lr_optimizations": 1.0, "v2": 1.0})
    (ladder,) = report_on(tmp_path).comparisons
    (over,) = (column for column in tables.columns(ladder) if column.key == "over")
    assert over.cells == ["", "r00_baseline", "r00_baseline", "r01_lr_optimizations"]


def test_long_labels_give_way_to_figures(tmp_path: Path) -> None:
    changed = {"optimizer.name": "adamw", "optimizer.weight_decay": 0.05, "optimizer.norm_weight_decay": 0.0}
    for seed in range(3):
        write_run(tmp_path, "v2", seed, 50.0 + seed)
        write_run(tmp_path, "v2", seed, 51.5 + seed**2, differences=changed)
    report = report_on(tmp_path)
    lines = tables.fitted(report.comparisons[0], 80)[1]
    assert max(map(len, lines)) <= 80
    assert "…" in lines[3]
    assert "53.17 ± 2.08" in lines[3]
    assert "optimizer.weight_decay=0.05" in tables.markdown(report)


def test_markdown_has_whole_tables(report: Report) -> None:
    lines = [line for line in tables.markdown(report).splitlines() if line.startswith("|")]
    ladder = lines[: 2 + len(report.comparisons[0].rows)]
    assert len({line.count("|") for line in ladder}) == 1
    assert all(row.label in line for row, line in zip(report.comparisons[0].rows, ladder[2:], strict=True))
    assert any("unresolved (" in line for line in ladder)


def test_report_on_broken_runs_alone_says_so(tmp_path: Path) -> None:
    write_run(tmp_path, "v1", 0, finished=False)
    write_run(tmp_path, "v2", 0, finished=False)
    report = report_on(tmp_path)
    text = tables.text(report, 80)
    assert "No run has finished yet." in text
    assert "not finished:\n  v1/seed=0\n  v2/seed=0" in text
    assert "nan" not in text
    assert "nan" not in csv_files.rungs_csv(report)
    assert "nan" not in tables.markdown(report)
