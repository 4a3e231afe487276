"""What the user has changed since a run was begun in the folder that is asked for again."""

from collections.abc import Sequence
from typing import Any

from recipe import stored_config
from recipe.plan import choices, hashes
from recipe.plan.ablations import ABLATIONS, key_of
from recipe.plan.compose import Plan
from recipe.plan.rungs import RECIPE_GROUPS
from recipe.schema import leaves
from recipe.stored_config import text


def what_differs(plan: Plan, before: dict[str, Any]) -> str:
    """What the user has changed since: choices and keys of the two command lines, or of a file, where those agree.

    What follows from it (a scale's lengths and sizes) or from the data (classes, steps of the average) is not named.
    """
    then = stored_config.load(plan.folder / "config.yaml")
    old, new = ({key: value for key, value, _ in leaves(config)} for config in (then, plan.config))
    old, new = old | before.get("config", {}), new | hashes.values_of(plan.config, {"weights", "result"})
    counts = {key for key, _, about in leaves(plan.config) if about["affects"] != "nothing" or key.startswith("scale.")}
    new = {key: value for key, value in new.items() if key in counts}
    differ = [key for key in new if key in old and old[key] != new[key]]
    from_file = [key for key in differ if key not in ("data.num_classes", "ema.steps")]  # which follow the data

    choices = _choices(before.get("overrides", [])), _choices(plan.overrides)
    changed = [
        f"{group} {choices[0].get(group, 'not given')} there, {choices[1].get(group, 'not given')} here"
        for group in sorted({*choices[0], *choices[1]})
        if choices[0].get(group) != choices[1].get(group)
        and (group in (*RECIPE_GROUPS, *ABLATIONS) or any(key.startswith(f"{group}.") for key in from_file))
    ]
    typed = plan.literal | {key_of(override) for override in before.get("overrides", [])}
    named = [key for key in differ if key in typed] or ([] if changed else from_file or differ)
    changed += [f"{key} {text(old[key])} there, {text(new[key])} here" for key in named]
    return "; ".join(changed) or "made by another version"


def _choices(overrides: Sequence[str]) -> dict[str, str]:
    """Config groups' options, as a command line names them."""
    pairs = ((key_of(override), override.partition("=")[2]) for override in overrides)
    return {key: value for key, value in pairs if key in (*choices.SECTIONS, *RECIPE_GROUPS, *ABLATIONS)}
