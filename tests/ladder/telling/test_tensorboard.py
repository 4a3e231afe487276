"""The report's TensorBoard folder holds what the report says: read back with TensorBoard's own reader."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic import LADDER, write_ladder, write_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import figures, tensorboard


def report_of(root: Path) -> Report:
    runs = collect([root])
    return Report([root], compare(runs), runs)


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    return accumulator.Reload()


def hparams(accumulator: EventAccumulator, tag: str) -> plugin_data_pb2.HParamsPluginData:
    content = accumulator.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, dict[str, figures.Drawing], Path]:
    root = tmp_path_factory.mktemp("board")
    write_ladder(root / "runs", dict.fromkeys(LADDER[:3], 1.0), seeds=3)
    report = report_of(root / "runs")
    drawn = figures.draw(report, root / "figures")
    tensorboard.write(report, drawn, root / "log")
    return report, drawn, root / "log"


Made = tuple[Report, dict[str, figures.Drawing], Path]


def test_there_is_a_run_for_each_rung_and_one_for_the_report(made: Made) -> None:
    assert sorted(path.name for path in made[2].iterdir()) == [*LADDER[:3], "report"]


def test_curves_are_the_means_over_the_seeds_under_their_own_tags(made: Made) -> None:
    for row in made[0].comparisons[0].rows:
        found = read(made[2] / row.label)
        files = [(run.folder / "metrics.jsonl").read_text().splitlines() for run in row.runs.values()]
        lines = [json.loads(line) for file in files for line in file]
        tags = {tag for line in lines for tag in line} - {"step", "epoch"}
        assert set(found.Tags()["scalars"]) == tags | set(tensorboard.METRICS)
        for tag in tags:
            for point in found.Scalars(tag):
                values = [line[tag] for line in lines if line["step"] == point.step and tag in line]
                assert len(values) == 3
                assert point.value == pytest.approx(np.mean(values), rel=1e-6)
            assert [point.step for point in found.Scalars(tag)] == [10, 20, 30]
        assert found.Scalars("final/acc1")[0].value == pytest.approx(row.mean, rel=1e-6)


def test_report_has_the_table_and_the_figures(made: Made) -> None:
    _, drawn, folder = made
    found = read(folder / "report")
    (text,) = found.Tensors("report")
    markdown = text.tensor_proto.string_val[0].decode()
    assert f"| {LADDER[2]} |" in markdown
    assert found.SummaryMetadata("report").plugin_data.plugin_name == "text"
    assert set(found.Tags()["images"]) == {f"report/{name}" for name in drawn}
    (image,) = found.Images("report/ladder")
    assert image.encoded_image_string == drawn["ladder"].png.read_bytes()
    assert image.width == figures.WIDTH * 150


def test_hyperparameters_are_what_the_settings_differ_in(tmp_path: Path) -> None:
    for seed, lr, ema in ((seed, lr, ema) for seed in (0, 1) for lr, ema in ((0.1, None), (0.2, 0.99))):
        config = {"ema.decay": ema, "schedule.nesterov": lr > 0.1}
        write_run(tmp_path / "runs", "v2", seed, 50 + lr, differences={"optimizer.lr": lr}, config=config)
    tensorboard.write(report_of(tmp_path / "runs"), {}, tmp_path / "log")
    runs = sorted(path.name for path in (tmp_path / "log").iterdir())
    assert runs == ["00_optimizer.lr=0.1", "01_optimizer.lr=0.2", "report"]
    starts = [hparams(read(tmp_path / "log" / run), "session_start_info").session_start_info for run in runs[:2]]
    found = [{key: getattr(v, v.WhichOneof("kind")) for key, v in start.hparams.items()} for start in starts]
    keys = ("recipe", "optimizer.lr", "ema.decay", "schedule.nesterov")
    expected = [("v2", 0.1, "none", False), ("v2", 0.2, "0.99", True)]
    assert found == [dict(zip(keys, values, strict=True)) for values in expected]
    experiment = hparams(read(tmp_path / "log" / "report"), "experiment").experiment
    assert {info.name for info in experiment.hparam_infos} == set(keys)
    assert {info.name.tag for info in experiment.metric_infos} == set(tensorboard.METRICS)


def test_writing_again_replaces_what_was_written_and_nothing_else(tmp_path: Path) -> None:
    write_ladder(tmp_path / "runs", dict.fromkeys(LADDER[:3], 1.0), seeds=2)
    report = report_of(tmp_path / "runs")
    log = tmp_path / "log"
    tensorboard.write(report, {}, log)
    foreign = log / LADDER[0] / "events.out.tfevents.1.somebody"
    foreign.write_bytes(b"")
    report.comparisons[0].rows.pop()
    tensorboard.write(report, {}, log)
    assert not (log / LADDER[2]).exists(), "a rung that is no longer there"
    assert len(list(log.rglob("events.*"))) == 4
    assert foreign.exists()
    assert len(read(log / LADDER[1]).Scalars("val/acc1")) == 3


def test_several_comparisons_have_folders_of_their_own(tmp_path: Path) -> None:
    write_ladder(tmp_path / "runs" / "a", dict.fromkeys(LADDER[:2], 1.0), seeds=2)
    for lr in (0.1, 0.2):
        write_run(tmp_path / "runs" / "b", "own", 0, 50 + lr, differences={"optimizer.lr": lr})
    report = report_of(tmp_path / "runs")
    assert len(report.comparisons) == 2
    for _ in range(2):
        tensorboard.write(report, {}, tmp_path / "log")
    folders = {
        path.parent.parent.relative_to(tmp_path / "log").as_posix() for path in (tmp_path / "log").rglob("events.*")
    }
    assert len(folders) == 3
    assert "." in folders
    report.comparisons.pop()
    tensorboard.write(report, {}, tmp_path / "log")
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == [*LADDER[:2], "report"]


def test_names_sort_as_the_rows_stand(made: Made) -> None:
    comparison = report_of(made[0].roots[0]).comparisons[0]
    assert list(tensorboard.run_names(comparison)) == list(LADDER[:3])
    for labels in (("v1", "r03", "r04"), ("r03 long", "r03/long", "v1")):  # in another order; twice the same
        for row, label in zip(comparison.rows, labels, strict=True):
            row.label = label
        found = tensorboard.run_names(comparison)
        assert list(found.values()) == comparison.rows
        assert [name[:3] for name in found] == ["00_", "01_", "02_"]


def test_long_curves_are_thinned_and_keep_their_end(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "v2", 0, 50.0)
    lines = [json.dumps({"step": step, "epoch": 0, "train/loss": 1.0}) for step in range(1, 5003)]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    tensorboard.write(report_of(tmp_path / "runs"), {}, tmp_path / "log")
    (run,) = (path for path in (tmp_path / "log").iterdir() if path.name != "report")
    steps = [point.step for point in read(run).Scalars("train/loss")]
    assert tensorboard.MOST_POINTS / 2 < len(steps) <= tensorboard.MOST_POINTS
    assert steps[-1] == 5002


def test_torch_is_not_imported(made: Made, tmp_path: Path) -> None:
    """It would take seconds, of a command that takes one."""
    script = f"""
import sys
from pathlib import Path
from recipe.ladder.comparing import compare, report
from recipe.ladder.reading import collect
from recipe.ladder.telling import figures, page, tensorboard
runs = collect.collect([Path({str(made[0].roots[0])!r})])
report = report.Report([], compare.compare(runs), runs)
drawn = figures.draw(report, Path({str(tmp_path)!r}))
page.write(report, drawn, Path({str(tmp_path)!r}) / "report.html")
tensorboard.write(report, drawn, Path({str(tmp_path)!r}) / "log")
assert (Path({str(tmp_path)!r}) / "log" / "report").is_dir()
sys.exit(" ".join(sorted({{"torch", "tensorflow"}} & set(sys.modules))) or 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
