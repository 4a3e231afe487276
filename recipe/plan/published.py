"""Figures that a recipe's source published: where they stand, and whether they may stand beside those of a run.

They are in the recipe's own file, in its `rung`, and go from there into the run folder. Shown they are only of a run on
the data that they were published for, at that size, with no other value changed. Imports neither torch nor Hydra.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipe.data.known import KNOWN, is_known

FIGURES = {  # that a file may say were published, in words
    "acc1": "top-1",
    "acc5": "top-5",
    "loss": "loss",
    "best_acc1": "top-1 of the best epoch",
    "train_loss": "training loss",
    "train_acc1": "training top-1",
}
CHOICES = {  # what an entry of `evaluated` may name, and what `recipe evaluate` calls it
    "split": "split",
    "weights": "weights",
    "val_resize": "resolution.val_resize",
    "val_crop": "resolution.val_crop",
}


@dataclass(frozen=True)
class Published:
    """What a run folder says was published of its recipe."""

    figures: dict[str, float]
    by_epoch: dict[int, dict[str, float]]  # epochs done: figures
    evaluated: list[dict[str, Any]]  # of `recipe evaluate`: some of CHOICES, and figures
    source: str | None  # by its title
    instead: str | None  # None: they may stand beside the run's; else what they were published on

    @property
    def shown(self) -> bool:
        """Whether there are figures that may stand beside the run's."""
        return bool(self.figures) and self.instead is None

    @property
    def is_of_best_epoch(self) -> bool:
        """Whether the source reports its best epoch, and not its last."""
        return "best_acc1" in self.figures

    @property
    def acc1(self) -> float | None:
        """The top-1 that was published, of the last epoch or of the best one."""
        return self.figures.get("acc1", self.figures.get("best_acc1"))


NOTHING = Published({}, {}, [], None, None)


def of_run(environment: Mapping[str, Any]) -> Published:
    """What was published of the run that a run folder's environment.json tells of.

    Runs of earlier versions do not say how many images they had: nothing may be shown beside them.
    """
    rung, figures = environment["rung"], environment["rung"].get("published")
    if not figures:
        return NOTHING
    return Published(
        figures={str(name): float(figure) for name, figure in figures.items()},
        by_epoch={int(epoch): dict(of_epoch) for epoch, of_epoch in (rung.get("by_epoch") or {}).items()},
        evaluated=[dict(entry) for entry in rung.get("evaluated") or []],
        source=rung.get("source"),
        instead=instead(
            rung.get("on"), environment["differences"], environment["classes"], environment.get("images") or {}
        ),
    )


def instead(
    on: str | None, differences: Mapping[str, str], classes: Sequence[str], images: Mapping[str, int]
) -> str | None:
    """None where a run may have published figures beside its own; else what they were published on, in words.

    Args:
        on: the data option that they are of. One that is not in KNOWN is known by its name alone.
        differences: of the run from its recipe.
        classes: of the run's data; images: their numbers by split, as `known.described` says them.
    """
    if on is None:
        return "on other data"
    changed = {key: value for key, value in differences.items() if key != "data"}
    known = KNOWN.get(on)
    title = f"on {known.title if known else f'data={on}'}"
    same_data = is_known(on, classes, images) if known else True
    if not same_data or differences.get("data", on) != on:
        return title
    if changed.keys() == {"scale"}:
        return f"{title} without scale={changed['scale']}"
    return f"{title} without {', '.join(changed)}" if changed else None


def in_words(published: Mapping[str, float], remarks: Mapping[str, str] | None = None) -> str:
    """Published figures as text, each with its remark."""
    remarks = remarks or {}
    return ", ".join(
        f"{FIGURES.get(name, name)} {value:.3f}{remarks.get(name, '')}" for name, value in published.items()
    )


def command_of(entry: Mapping[str, Any]) -> str:
    """What `recipe evaluate` is to be given for an entry of `evaluated`."""
    return " ".join(f"{key}={entry[name]}" for name, key in CHOICES.items() if name in entry)


def figures_of(entry: Mapping[str, Any]) -> dict[str, float]:
    """The figures of an entry of `evaluated`."""
    return {name: figure for name, figure in entry.items() if name in FIGURES}


def of_evaluation(published: Published, setting: Mapping[str, Any]) -> dict[str, float]:
    """The figures that were published of a run's evaluation with these CHOICES; none where they may not be shown."""
    if not published.shown:
        return {}
    for entry in published.evaluated:
        if all(setting.get(name) == entry.get(name, "val") for name in CHOICES if name in entry or name == "split"):
            return figures_of(entry)
    return {}
