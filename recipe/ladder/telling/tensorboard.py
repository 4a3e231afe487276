"""A TensorBoard log folder that reads well: one run for each setting, the mean over its seeds, and one for the report.

Without PyTorch, so that a report does not wait seconds for its import.
"""

import math
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from recipe.encoding import shown
from recipe.ladder.comparing.comparison import Comparison, Row
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading import histories, losses
from recipe.ladder.telling import tables
from recipe.ladder.telling.wording import prefix, slug

if TYPE_CHECKING:
    from recipe.ladder.telling.drawing import Drawing

ENDING = ".report"  # of our event files: writing again takes these away and no others
MOST_POINTS = 1000  # of a curve: TensorBoard shows no more
METRICS = {
    "final/acc1": "top-1, %",
    "final/loss": "validation loss",
    "final/train_loss": "training loss",
    "final/device_hours": "device-hours of a run",
}
NOT_SETTINGS = {"seed", "data.fold"}  # what the runs of one setting differ in
Value = bool | float | str
Add = Callable[[Summary.Value, int], None]  # a value, after so many steps


def write(report: Report, figures: Mapping[str, "Drawing"], folder: Path) -> None:
    """Write the folder, in place of what was written there before."""
    _remove_old(folder)
    settings = hyperparameters([row for comparison in report.comparisons for row in comparison.rows])
    for number, comparison in enumerate(report.comparisons):
        for name, row in run_names(comparison).items():
            with _writer(folder / prefix(report, number).rstrip("_") / name) as add:
                _write_setting(add, name, row, settings[row.name])
    with _writer(folder / "report") as add:
        add(_text("report", tables.markdown(report, least=tables.TELLING)), 0)
        for name, drawing in figures.items():
            add(_picture(f"report/{name}", drawing.png), 0)
        add(_hparams(metadata.EXPERIMENT_TAG, experiment=_experiment(list(settings.values()))), 0)


def run_names(comparison: Comparison) -> dict[str, Row]:
    """What TensorBoard calls the rows, in their order: it sorts by name, so a number leads where the labels do not."""
    names = [slug(row.label) for row in comparison.rows]
    if comparison.shape != "ladder" or names != sorted(set(names)):
        names = [f"{place:02d}_{name}" for place, name in enumerate(names)]
    return dict(zip(names, comparison.rows, strict=True))


def hyperparameters(rows: Sequence[Row]) -> dict[str, dict[str, Value]]:
    """By row: its recipe, and the keys whose values differ between the rows. A key has one type in all of them."""
    configs = {row.name: _config(row) for row in rows}
    found: dict[str, dict[str, Value]] = {row.name: {"recipe": _recipe(row)} for row in rows}
    for key in sorted({key for config in configs.values() for key in config} - NOT_SETTINGS):
        column = {name: config[key] for name, config in configs.items() if key in config}
        if len({str(value) for value in column.values()}) > 1:
            for name, value in zip(column, _of_one_type(list(column.values())), strict=True):
                found[name][key] = value
    return found


def _of_one_type(values: list[Any]) -> list[Value]:
    if all(type(value) is bool for value in values):
        return values
    if all(type(value) in (int, float) for value in values):
        return [float(value) for value in values]
    return ["none" if value is None else str(value) for value in values]


def _config(row: Row) -> dict[str, Any]:
    return next((run.environment.get("config") or {} for run in row.runs.values()), {})


def _recipe(row: Row) -> str:
    return next((run.recipe for run in [*row.runs.values(), *row.others]), "")


def _write_setting(add: Add, name: str, row: Row, settings: Mapping[str, Value]) -> None:
    """Means of the curves under the single runs' own tags, and what was set with what came of it."""
    series = [histories.read(run.folder) for run in row.runs.values()]
    last = 0
    for tag in sorted(set().union(*series)):
        mean = histories.band([one[tag] for one in series if tag in one])
        every = -(-len(mean.steps) // MOST_POINTS) or 1
        kept = range((len(mean.steps) - 1) % every, len(mean.steps), every)  # the last point among them
        for place in kept:
            add(Summary.Value(tag=tag, simple_value=mean.mean[place]), int(mean.steps[place]))
        last = max([last, *map(int, mean.steps)])
    now = time.time()
    begin = plugin_data_pb2.SessionStartInfo(group_name=name, start_time_secs=now)
    for key, value in settings.items():
        kind = {bool: "bool_value", float: "number_value", str: "string_value"}[type(value)]
        setattr(begin.hparams[key], kind, value)
    add(_hparams(metadata.SESSION_START_INFO_TAG, session_start_info=begin), 0)
    if row.acc1:
        found = losses.of_runs(row.runs.values())
        for tag, figure in zip(METRICS, (row.mean, found.val, found.train, row.device_hours), strict=True):
            if not math.isnan(figure):
                add(Summary.Value(tag=tag, simple_value=figure), last)
        end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=now)
        add(_hparams(metadata.SESSION_END_INFO_TAG, session_end_info=end), 0)


def _experiment(settings: Sequence[Mapping[str, Value]]) -> Any:
    """What TensorBoard's table of hyperparameters has for columns."""
    kinds = {bool: api_pb2.DATA_TYPE_BOOL, float: api_pb2.DATA_TYPE_FLOAT64, str: api_pb2.DATA_TYPE_STRING}
    types = {key: kinds[type(value)] for setting in settings for key, value in setting.items()}
    return api_pb2.Experiment(
        time_created_secs=time.time(),
        hparam_infos=[api_pb2.HParamInfo(name=key, type=kind) for key, kind in types.items()],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=name) for tag, name in METRICS.items()
        ],
    )


def _hparams(tag: str, **content: Any) -> Summary.Value:
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
    return Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)


def _text(tag: str, markdown: str) -> Summary.Value:
    tensor = TensorProto(dtype="DT_STRING", string_val=[shown(markdown).encode()])
    about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    return Summary.Value(tag=tag, metadata=about, tensor=tensor)


def _picture(tag: str, png: Path) -> Summary.Value:
    content = png.read_bytes()
    width, height = struct.unpack(">II", content[16:24])  # of a PNG's header
    image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=content)
    return Summary.Value(tag=tag, image=image)


@contextmanager
def _writer(folder: Path) -> Iterator[Add]:
    writer = EventFileWriter(str(folder), filename_suffix=ENDING)

    def add(value: Summary.Value, step: int) -> None:
        writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])))

    try:
        yield add
    finally:
        writer.close()


def _remove_old(folder: Path) -> None:
    for file in sorted(folder.rglob(f"events.out.tfevents.*{ENDING}")):
        file.unlink()
        for parent in file.relative_to(folder).parents[:-1]:
            if not any((folder / parent).iterdir()):
                (folder / parent).rmdir()
