"""How a sweep stands, in lines for a terminal of some width."""

from collections.abc import Sequence

from recipe.output import count
from recipe.sweep.status import RunStatus, Status

MOST_FAILED = 10  # that are listed
TITLE_SHARE = 0.35  # of the columns, for the title at least, where it needs as many


def lines(status: Status, width: int, most: int | None = None) -> list[str]:
    """Lines of at most `width` columns.

    Args:
        most: lines that there is room for; None: any number.
    """
    counts = [f"{number} {state}" for state, number in status.counts.items() if number or state == "finished"]
    found = [f"{count(len(status.runs), 'run')}: {' · '.join(counts)}{_left(status)}"]
    for launcher in status.launchers:
        found.append(f"sweep    on {launcher['host']}, process {launcher['pid']}, since {_clock(launcher['started'])}")
    if not status.launchers and status.counts["waiting"] + status.counts["stopped"] and not status.counts["queued"]:
        found.append("sweep    none is at work: the same command goes on with what has not finished")
    found += [f"notice   {notice}" for notice in status.notices]
    failed = [run for run in status.runs if run.state == "failed"]
    last: list[str] = []
    for run in failed[:MOST_FAILED]:
        last += [f"failed   {_shortened(run.title, width - 9)}", f"         | {run.why or 'its console says nothing'}"]
    if len(failed) > MOST_FAILED:
        last.append(f"         … and {len(failed) - MOST_FAILED} more failed")
    running = [run for run in status.runs if run.state == "running"]
    queued = [run for run in status.runs if run.state == "queued"]
    room = None if most is None else max(1, most - len(found) - len(last) - 1)
    table = _table([*running, *queued], width)
    if room is not None and len(table) > room:
        table = [*table[: room - 1], f"… and {len(table) - room + 1} more running or queued"]
    return [_cut(line, width) for line in (*found, *table, *last)]


def _left(status: Status) -> str:
    known = [run.seconds_left for run in status.runs if run.seconds_left is not None]
    if not known or status.counts["waiting"] or status.counts["queued"]:
        return ""
    return f" · about {_duration(max(known))} left"


def _table(runs: Sequence[RunStatus], width: int) -> list[str]:
    """A row for each run, columns below each other; the title is cut where there is no room."""
    if not runs:
        return []
    rows = [_row(run) for run in runs]
    columns = ["", "epoch", "images/s", "top-1", "left", "where"]
    shown = [number for number in range(6) if any(row[number] for row in rows)]
    widths = {number: max(len(columns[number]), *(len(row[number]) for row in rows)) for number in shown if number}
    longest, others = max(len(row[0]) for row in rows), sum(widths.values()) + 2 * len(widths)
    title = min(longest, max(int(TITLE_SHARE * width), width - others))
    found = []
    for row in [columns, *rows]:
        cells = [_shortened(row[0], title).ljust(title)]
        for number, room in widths.items():
            cells.append(row[number].ljust(room) if number == 5 else row[number].rjust(room))
        found.append("  ".join(cells).rstrip())
    return found


def _row(run: RunStatus) -> list[str]:
    epoch = f"{run.epoch}/{run.epochs}" if run.epoch else f"0/{run.epochs}" if run.epochs else ""
    slurm = f"job {run.slurm_job} {run.slurm_state or ''}".strip() if run.slurm_job else ""
    process = f"pid {run.pid}" if run.pid is not None else ""
    where = ", ".join(text for text in (slurm, run.host, process if not slurm else "", run.devices) if text)
    return [
        run.title,
        epoch,
        "" if run.images_per_second is None else f"{run.images_per_second:,.0f}",
        "" if run.accuracy is None else f"{run.accuracy:.2f}",
        "" if run.seconds_left is None else _duration(run.seconds_left),
        where,
    ]


def _shortened(title: str, width: int) -> str:
    """A title without its middle, where it is too long: what tells runs apart stands at its end, as the seed does."""
    if len(title) <= width:
        return title
    end = min(len(title.rpartition(" ")[2]) + 1, width // 2)
    return f"{title[: width - end - 1]}…{title[-end:]}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(1, width - 1)]}…"


def _clock(started: str) -> str:
    """2026-11-27T15:08:30+0000 as people read it."""
    return started[:16].replace("T", " ")


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{round(seconds)} s" if seconds < 100 else f"{hours}:{minutes:02} h" if hours else f"{minutes} min"
