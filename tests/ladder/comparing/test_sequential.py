"""What a sweep's looks come to: kept in a file, and the same in a report."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from synthetic import LADDER, write_ladder, write_run

from recipe.errors import RunError
from recipe.ladder.comparing import looks, sequential
from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading import looks_taken
from recipe.ladder.reading.collect import collect
from recipe.ladder.reading.looks_taken import FOLDER, LooksTaken
from recipe.ladder.telling import tables, why

GAINS = dict(zip(LADDER, (0, 3.0, 0.0, -0.8, 0.0), strict=False))
SEEDS = 6


def looked(root: Path, at: tuple[int, ...] = (3, 5), smallest: float | None = 0.5) -> LooksTaken:
    """The looks of a sweep that has trained so far, and kept them."""
    taken = LooksTaken(root / FOLDER / "abc.json", looks.design(3, 20, smallest))
    for count in at:
        folders = [folder for seed in range(count) for folder in root.glob(f"*/seed={seed}")]
        still = {key for key, one in sequential.standings(taken).items() if not one.is_open}
        seen = sequential.seen(compare(collect(folders)), smallest)
        taken = taken.with_look([one for one in seen if (one.table, one.name, one.over) not in still], folders)
    taken.write()
    return taken


def reported(root: Path) -> Comparison:
    runs = collect([root])
    (comparison,) = comparisons = compare(runs)
    sequential.with_looks(comparisons, runs, [root])
    return comparison


def test_a_report_has_the_verdicts_of_the_looks_and_tells_of_them(tmp_path: Path) -> None:
    write_ladder(tmp_path, GAINS, seeds=SEEDS, sd=0.05)
    plain = compare(collect([tmp_path]))[0]
    taken = looked(tmp_path)
    comparison = reported(tmp_path)
    found = {(name, over): one for (_, name, over), one in sequential.standings(taken).items()}
    assert len(found) == 4
    for row, before in zip(comparison.rows[1:], plain.rows[1:], strict=True):
        assert row.gain is not None
        assert before.gain is not None
        standing = found[row.name, row.gain.over]
        assert row.gain.verdict == sequential.verdict(standing, taken)
        assert row.gain.adjusted == standing.adjusted > before.gain.adjusted  # looks are paid for
    verdicts = [row.gain.verdict for row in comparison.rows[1:] if row.gain]
    small = "smaller than 0.5 in either direction"
    assert verdicts == ["helps", small, "hurts", small]
    said = tables.text(Report([tmp_path], [comparison], []), 10_000)
    assert "2 looks of at most 6 were taken, at 3 and 5 seeds (max_seeds=20); p and verdicts pay for all" in said
    assert "4% are for helps and hurts, 1% for smaller than 0.5" in said
    assert f"{LADDER[1]} resolved at 3 seeds" in said
    assert "2 are smaller than asked for" in said
    assert "Smaller than 0.5 in either direction: " in said
    assert all("all looks" in " ".join(sentences) for _, sentences in why.verdicts(comparison))


def test_what_is_resolved_is_not_looked_at_again_and_stays(tmp_path: Path) -> None:
    write_ladder(tmp_path, GAINS, seeds=SEEDS, sd=0.05)
    first, both = looked(tmp_path, (3,)), looked(tmp_path)
    done = {key: one for key, one in sequential.standings(first).items() if one.decided != looks.OPEN}
    assert any(one.decided == looks.HELPS for one in done.values())
    for key, one in done.items():
        later = sequential.standings(both)[key]
        assert (later.decided, later.last, later.looks) == (one.decided, one.last, 1)


def test_an_open_comparison_says_where_it_stands(tmp_path: Path) -> None:
    write_ladder(tmp_path, dict.fromkeys(LADDER[:4], 0.0), seeds=SEEDS, sd=0.3)
    taken = looked(tmp_path, (3,), smallest=None)
    assert {one.decided for one in sequential.standings(taken).values()} == {looks.OPEN}
    assert all(one.is_open for one in sequential.standings(taken).values())
    verdicts = {row.gain.verdict for row in reported(tmp_path).rows[1:] if row.gain}
    assert verdicts == {"unresolved (open at look 1 of 6)"}
    at_end = dataclasses.replace(taken, design=looks.design(3, 3, None))
    at_end.write()
    assert not any(one.is_open for one in sequential.standings(at_end).values())
    verdicts = {row.gain.verdict for row in reported(tmp_path).rows[1:] if row.gain}
    assert verdicts == {"unresolved (at max_seeds=3)"}


def test_two_settings_alone_are_compared_by_their_pairs(tmp_path: Path) -> None:
    """Of three pairs a spread is hardly known: "smaller than" is not said of them, however alike they are."""
    for seed in range(8):
        write_run(tmp_path, LADDER[0], seed, 50 + 0.1 * seed)
        write_run(tmp_path, LADDER[1], seed, 50 + 0.1 * seed + 0.01 * (-1) ** seed, predictions=False)
    (few,) = sequential.standings(looked(tmp_path, (3,), smallest=2.0)).values()
    assert few.decided == looks.OPEN
    assert few.last.p_smaller == 1
    (more,) = sequential.standings(looked(tmp_path, (3, 8), smallest=2.0)).values()
    assert more.decided == looks.SMALLER


def test_one_training_evaluated_alike_is_no_comparison(tmp_path: Path) -> None:
    write_ladder(tmp_path, GAINS, seeds=3, sd=0.05)
    for seed in range(3):
        shutil.copy(tmp_path / LADDER[3] / f"seed={seed}" / "result.json", tmp_path / LADDER[4] / f"seed={seed}")
    assert len(sequential.standings(looked(tmp_path, (3,)))) == 3


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_ladder(tmp_path, GAINS, seeds=SEEDS)
    taken = looked(tmp_path)
    assert looks_taken.read(taken.path) == taken
    moved = tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert next(row.gain.verdict for row in reported(moved).rows[1:] if row.gain) == "helps"
    assert reported(moved).looks is not None


@pytest.mark.parametrize("content", ["", "{}", '{"design": {}, "looks": [], "folders": []}', "[1]"])
def test_a_broken_file_harms_no_report(tmp_path: Path, content: str) -> None:
    write_ladder(tmp_path, GAINS, seeds=3)
    taken = looked(tmp_path, (3,))
    taken.path.write_text(content)
    with pytest.raises(RunError):
        looks_taken.read(taken.path)
    assert reported(tmp_path).looks is None


def test_runs_of_another_folder_are_not_those_that_were_looked_at(tmp_path: Path) -> None:
    write_ladder(tmp_path / "one", GAINS, seeds=3)
    write_ladder(tmp_path / "two", GAINS, seeds=3)
    looked(tmp_path / "one", (3,))
    content = json.loads((tmp_path / "one" / FOLDER / "abc.json").read_text())
    assert len(content["folders"]) == 15
    (tmp_path / "two" / FOLDER).mkdir(parents=True)
    content["folders"] = [f"../one/{folder}" for folder in content["folders"]]
    (tmp_path / "two" / FOLDER / "abc.json").write_text(json.dumps(content))
    assert reported(tmp_path / "two").looks is None
    assert reported(tmp_path / "one").looks is not None
