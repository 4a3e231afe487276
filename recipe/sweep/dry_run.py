"""`hydra.launcher.dry_run=true`: what a sweep would train, go on with or skip, and how long that takes.

Nothing is started, and nothing written.
"""

from collections import Counter
from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus

from recipe.errors import ConfigError
from recipe.ladder.reading.collect import find
from recipe.output import count, say
from recipe.sweep import estimate
from recipe.sweep.jobs import Job, trainings
from recipe.sweep.launcher import RecipeLauncher

SHOWN = 60  # jobs that are listed of those that would train
NO_RATE = "no run of that model has finished here; hydra.launcher.rate=… says images a second of a device"
NO_IMAGES = "how many images there are is known once a run of that data has begun here"


def launch(
    launcher: RecipeLauncher, job_overrides: Sequence[Sequence[str]], first: int, rate: float | None
) -> list[JobReturn]:
    """What Hydra takes for the jobs' results. Raises ConfigError where one is wrong.

    Args:
        launcher: set up for the sweep.
        rate: images a second of a device; None: as earlier runs in the sweep's folder.
    """
    if rate is not None and not rate > 0:
        raise ConfigError(f"hydra.launcher.rate={rate:g}: images a second of a device must be above 0")
    launcher.record = None
    nodes = launcher.config.hydra.launcher.get("nodes", 1)
    jobs = launcher.jobs(job_overrides, first, nodes * launcher.per_job)
    groups = trainings(jobs)
    folder = jobs[0].folder.parents[1]
    known = estimate.earlier(find(folder)) if folder.is_dir() else estimate.Earlier({}, {})
    queued = launcher.in_queue(jobs)
    verbs = {
        job: _what_happens(job, job is not group[0], str(job.folder) in queued) for group in groups for job in group
    }
    for line in _lines(verbs, queued, known, rate):
        say(line)
    return [
        JobReturn(overrides=job.overrides, working_dir=str(job.folder), status=JobStatus.COMPLETED, _return_value=None)
        for job in jobs
    ]


def _what_happens(job: Job, follows: bool, queued: bool) -> str:
    if job.result() is not None:
        return "skip"
    if queued:
        return "queued"
    if job.is_running():
        return "runs"
    if follows:
        return "evaluate"
    begun = (job.folder / "checkpoints" / "last.pt").exists() and job.plan.config.resume == "auto"
    return "resume" if begun else "train"


def _lines(verbs: dict[Job, str], queued: dict[str, str], known: estimate.Earlier, given: float | None) -> list[str]:
    """What would happen, job by job, and in all."""
    lines, hours, sources, unknown = [], 0.0, set(), Counter[str]()
    for job, verb in verbs.items():
        if verb == "skip":
            continue
        told = f"{verb:<9}{job.title}"
        if verb == "evaluate":
            told += "  (takes the weights of another job's training)"
        elif verb == "queued":
            told += f"  ({queued[str(job.folder)]})"
        elif verb in ("train", "resume"):
            done = job.progress()[0] if verb == "resume" else 0.0
            at = f"  from {done:.0%}" if verb == "resume" else ""
            rate = estimate.rate_of(job.plan.config, known, given)
            images = estimate.num_images(job.plan.config, _data_option(job), known)
            if rate is None or images is None:
                unknown[NO_RATE if rate is None else NO_IMAGES] += 1
                told += at
            else:
                each = estimate.device_hours(job.plan.config, images, rate) * (1 - done)
                hours += each
                sources.add(rate.source)
                told += f"{at}  {_hours(each)}"
        lines.append(told)
    more = [f"… and {len(lines) - SHOWN} more"] if len(lines) > SHOWN + 1 else []
    shown = lines[:SHOWN] if more else lines
    words = {
        "train": "would train",
        "resume": "would go on",
        "evaluate": "would evaluate",
        "runs": "run now",
        "queued": "queued or running already",
    }
    counts = [f"{number} {word}" for verb, word in words.items() if (number := list(verbs.values()).count(verb))]
    skipped = list(verbs.values()).count("skip")
    counts.append(f"{skipped} finished before")
    summary = f"{count(len(verbs), 'job')}: {', '.join(counts)}"
    return [*shown, *more, summary, *_in_all(hours, sources, unknown), "dry run: nothing was started or written"]


def _in_all(hours: float, sources: set[str], unknown: Counter[str]) -> list[str]:
    lines = [f"estimated  {_hours(hours)} (rate {' and '.join(sorted(sources))})"] if sources else []
    return lines + [f"estimated  unknown for {count(number, 'training')}: {why}" for why, number in unknown.items()]


def _data_option(job: Job) -> str | None:
    """The choice of `data` on the command line."""
    chosen = [text.partition("=")[2] for text in job.overrides if text.startswith("data=")]
    return chosen[-1] if chosen else None


def _hours(hours: float) -> str:
    return f"{hours:.1f} device-hours" if hours >= 1 else f"{60 * hours:.1f} device-minutes"
