"""Short trainings to discard, long ones to confirm: which settings of a sweep are worth a longer training."""

from collections.abc import Mapping, Sequence

from recipe.ladder.comparing.statistics import difference, holm, verdict
from recipe.plan.compose import Plan


def shortened(overrides: Sequence[str], plan: Plan, share: float) -> list[str]:
    """The overrides of the same run with a share of its epochs. Warm-up and decay steps keep their proportion."""
    shorter = [f"++scale.epochs={plan.config.scale.epochs * share:.12g}"]
    if "epochs" in plan.literal:  # which no scale changes
        kept = [override for override in overrides if not override.lstrip("+").startswith("epochs=")]
        return [*kept, f"epochs={max(1, round(plan.config.epochs * share))}", *shorter]
    return [*overrides, *shorter]


def verdicts(found: Mapping[str, Mapping[int, float]]) -> dict[str, str]:
    """Verdict on each setting but the first, against that one, in the words of `statistics.verdict`.

    Args:
        found: for each setting, top-1 in percent by seed.
    """
    if not found:
        return {}
    first, *others = found
    differences = []
    for name in others:
        shared = sorted(found[name].keys() & found[first].keys())
        differences.append(difference([found[name][s] for s in shared], [found[first][s] for s in shared]))
    adjusted = holm([each.p for each in differences]).tolist()
    return {name: verdict(each, p) for name, each, p in zip(others, differences, adjusted, strict=True)}
