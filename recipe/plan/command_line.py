"""Command lines as people type them, in the form that Hydra's grammar reads.

Run folders hold `=`, `~` and `,`, and other folders whatever their owners like; to the grammar these are signs.
"""

import os
import re
from collections.abc import Sequence
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from recipe.errors import ConfigError

DATA_PATHS = ("data.root", "data.train_dir", "data.val_dir", "data.test_dir", "model.weights", "model.weights_cache")
HYDRA_PATHS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.name")  # never swept over
MULTIRUN = ("-m", "--multirun")
HYDRAS_FLAGS = {flag for action in get_args_parser()._actions for flag in action.option_strings}
ASSIGNMENT = re.compile(r"(\+{0,2}[A-Za-z_][\w./@$:-]*)=(.*)", re.DOTALL)


def for_hydra(arguments: Sequence[str]) -> list[str]:
    """The same arguments with paths quoted where the grammar would misread them, and `~` expanded.

    A comma separates the values of a sweep, unless what it joins is a path that exists. Raises ConfigError for a key
    without a value.
    """
    flags = [argument for argument in arguments if argument in MULTIRUN]
    return [*flags, *(_readable(other) for other in arguments if other not in flags)]  # argparse loses what follows one


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for several runs."""
    return any(
        argument in MULTIRUN or re.fullmatch(r"\+*hydra\.mode=multirun", argument, re.I) for argument in arguments
    )


def check_sweeps(config: DictConfig, loader: ConfigLoader) -> None:
    """Refuse an override of a sweep that has no value: there would be no job at all. Raises ConfigError."""
    params = [f"{key}={value}" for key, value in (OmegaConf.select(config, "hydra.sweeper.params") or {}).items()]
    for override in OverridesParser.create(loader).parse_overrides([*params, *config.hydra.overrides.task]):
        if override.is_discrete_sweep() and not list(override.sweep_string_iterator()):
            known = loader.get_group_options(override.key_or_group)
            there = f": there are {', '.join(known)}" if known else ""
            raise ConfigError(f"{override.input_line} names nothing to sweep over{there}")


def with_home(argument: str) -> str:
    """The argument with `~/` expanded, which no shell does inside quotes and few after `=` (`data.root=~/photos`)."""
    key, equals, value = argument.rpartition("=~/")
    if equals and re.fullmatch(r"\+{0,2}[\w./-]+", key):
        return f"{key}={os.path.expanduser('~/')}{value}"
    return os.path.expanduser(argument) if argument == "~" or argument.startswith("~/") else argument


def refuse_empty(argument: str) -> None:
    """Refuse an empty argument or value: an empty folder's name would be the current folder. Raises ConfigError."""
    if not argument.strip():
        raise ConfigError("an argument is empty: is a shell variable not set? Leave it out, or set the variable")
    if re.fullmatch(r"[\w.@/+-]+=\s*", argument) and not os.path.exists(argument):
        raise ConfigError(f"{argument} has no value: is a shell variable not set? Leave it out, or give it one")


def quoted(text: str) -> str:
    """Text as one value, whatever stands in it; `${…}` is still filled in."""
    return QuotedString(text, Quote.double if '"' not in text else Quote.single).with_quotes()


def _readable(argument: str) -> str:
    refuse_empty(argument)
    if (dashed := re.match(r"--?([A-Za-z][\w.-]*)=", argument)) and f"--{dashed[1]}" not in HYDRAS_FLAGS:
        raise ConfigError(f"{argument}: keys are written without dashes, {argument.lstrip('-')}")
    match = ASSIGNMENT.fullmatch(argument)
    if match is None:
        return with_home(argument)
    key, value = match[1], match[2].strip()
    name = key.lstrip("+")
    if name == "hydra.sweeper.params":
        return f"++{name}={value}"  # Hydra would want each of them to be there
    if name == "hydra.searchpath" and value.startswith("[") and value.endswith("]") and _parsed(value) is None:
        return f"{key}=[{','.join(_one(part.strip(), True) for part in value[1:-1].split(','))}]"
    is_path = name in (*DATA_PATHS, *HYDRA_PATHS)
    if not is_path and (value[0] in "[{'\"" or not (value.startswith("~") or os.sep in value)):
        return argument  # no path: what it means is Hydra's to say
    parsed = _parsed(value)
    if is_path and parsed is not None and not parsed.is_sweep_override() and parsed.value() == "":
        refuse_empty(f"{key}=")
    swept = parsed is None or parsed.value_type is ValueType.SIMPLE_CHOICE_SWEEP
    if name in HYDRA_PATHS or (parsed is not None and not parsed.is_sweep_override()):
        return f"{key}={_one(value, is_path)}"
    if not swept or any(quote in value for quote in "'\"" if parsed is not None):
        return argument  # written with the grammar's own means
    return f"{key}={','.join(_one(part, is_path) for part in _values(value))}"


def _values(text: str) -> list[str]:
    """The values of a sweep: parts between commas, those together that are a path which exists."""
    parts, values = text.split(","), []
    while parts:
        joined = (count for count in range(len(parts), 1, -1) if _exists(",".join(parts[:count])))
        count = next(joined, 1)
        values.append(",".join(parts[:count]).strip())
        del parts[:count]
    return values


def _exists(path: str) -> bool:
    return os.path.exists(os.path.expanduser(path.strip()))


def _one(text: str, is_path: bool) -> str:
    """One value, quoted where it is a path that would be read as something else."""
    parsed = _parsed(text)
    if parsed is None or parsed.is_sweep_override():
        return quoted(os.path.expanduser(text))
    value: Any = parsed.value()
    if isinstance(value, str):
        return quoted(os.path.expanduser(value)) if value.startswith("~") else text
    return quoted(text) if is_path and isinstance(value, int | float) else text


def _parsed(value: str) -> Override | None:
    """What the grammar makes of a value; None where it cannot read it."""
    try:
        return OverridesParser.create().parse_override(f"key={value}")
    except HydraException:
        return None
