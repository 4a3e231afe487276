"""Hydra's and OmegaConf's errors in one short sentence each: what, where, and what would be right."""

import errno
import re
from traceback import walk_tb
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import MarkedYAMLError

from recipe.config import Config
from recipe.encoding import shown
from recipe.errors import UserError
from recipe.guesses import did_you_mean
from recipe.network.available import unknown_option
from recipe.plan.ablations import ABLATIONS
from recipe.plan.choices import known_keys
from recipe.plan.command_line import DATA_PATHS
from recipe.plan.rungs import CONF, RECIPE_GROUPS
from recipe.schema import leaves


def explain(error: BaseException) -> str | None:
    """The message for a user, or None where the error is not one that a user caused."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
        if isinstance(link, UnicodeEncodeError):  # TensorBoard's folder, for one
            return f"{shown(link.object)[:200]} is not UTF-8, and something here takes only that: choose another name"
        if (said := _about_a_file(link)) is not None:
            return said
        if isinstance(link, ValueError) and "Config group override" in str(link):
            return _no_option(_local(link, "__init__", "override"))
        if isinstance(link, ValueError) and (said := _about_flags(str(link))):
            return said
        if isinstance(link, OSError) and link.errno in (errno.EMFILE, errno.ENFILE):
            return f"{link.strerror} at once: raise the limit (ulimit -n 4096), or use fewer data.workers"
        if isinstance(link, OSError) and link.filename is not None:  # Hydra makes the run's folder
            return f"{link.filename}: {link.strerror}. RECIPE_OUTPUTS=FOLDER names another place for runs"
    faults = ImportError | AssertionError | NameError | TypeError  # of the code, not of the command
    if "override ~" not in str(error) and any(isinstance(link, faults) for link in chain):
        return None
    for link in chain:
        if isinstance(link, MissingConfigException) and link.options is not None:
            return _missing_option(link)
    if match := re.search(r"In '(.*?)': Could not load '(.*?)'", str(error)):
        group, _, option = match[2].rpartition("/")
        known = [file.stem for file in (CONF / (group or "recipe")).glob("*.yaml")]
        builds_on = "" if match[1] == "config" else f"{match[1]} builds on {match[2]}: "
        return f"{builds_on}there is no {match[2]}.{did_you_mean(option, known)}"
    for link in chain:
        if isinstance(link, MarkedYAMLError):
            return f"cannot read a YAML file: {link.problem}, {str(link.problem_mark).strip()}"
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None

    text = str(error)
    if match := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.*)'", text):
        return _several_values(match[1])
    if match := re.search(r"Sweeping over Hydra's configuration is not supported : '(.*)'", text):
        return f"{match[1]}: one value for all jobs of a sweep; what hydra.* says cannot be swept over"
    if match := re.search(r"override (~\S+)", text):
        return f"{match[1]}: a key cannot be removed: give it the value you mean"
    if match := re.search(r"Could not override '(.*?)'", text):
        return _unknown_key(match[1])
    for link in chain:
        if isinstance(link, ConfigAttributeError | ConfigKeyError):
            if link.full_key in RECIPE_GROUPS:
                return f"the file of the {link.full_key} lacks its first line: # @package _global_"
            return f"there is no key {link.full_key}.{did_you_mean(str(link.full_key), known_keys())}"
    if match := re.search(r"Error merging override (.*)", text):
        return f"{match[1].strip()}: {_wrong_value(chain)}"
    if "parse" in type(error).__name__.lower() or "Error parsing override" in text or "LexerNoViableAlt" in text:
        return f"cannot read the command line: {_unreadable(text, chain)}"
    if (match := re.search(r"In '(.*?)': ValidationError", text)) and "is not a subclass of" in text:
        return f"{match[1]}: {_wrong_value(chain)}"
    if match := re.search(r"full_key: (\S+)", text):
        return f"{match[1]}: {_wrong_value(chain)}"
    return _first_lines(text)


def _about_a_file(error: BaseException) -> str | None:
    """What is wrong with a YAML file that Hydra, which lets these errors through, cannot take."""
    if isinstance(error, UnicodeDecodeError) and (path := _local(error, "load_config", "full_path")):
        return f"{path} is not UTF-8 text (byte {error.object[error.start]:#x}): save it as UTF-8"
    if isinstance(error, RecursionError) and (path := _local(error, "_create_defaults_tree_impl", "path")):
        return f"{path} builds on itself, by its list of defaults or through the files named there"
    return None


def _local(error: BaseException, function: str, name: str) -> Any:
    """A variable of the innermost call of a function that an error came through: these errors name no file."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name == function]
    return next((frame.f_locals[name] for frame in reversed(frames) if frame.f_locals.get(name)), None)


def _unknown_key(key: str) -> str:
    if key in (*RECIPE_GROUPS, *ABLATIONS):
        return f"{key} needs a plus: +{key}=NAME"
    if re.fullmatch(r"(num_?|n_?)?(gpus|devices|processes)|world_size|nproc(_per_node)?|nodes|num_nodes", key):
        return f"there is no key {key}: the number of GPUs is torchrun's, torchrun --nproc_per_node=N train.py …"
    return f"there is no key {key}.{did_you_mean(key, known_keys())}"


def _unreadable(text: str, chain: list[BaseException]) -> str:
    override = next((link.override for link in chain if isinstance(link, OverrideParseException)), None)
    if override is None:
        return _first_lines(text)
    if "=" not in override:
        return f"{override} is not of the form KEY=VALUE"
    return f"{override}. A value with special characters takes two kinds of quotes: 'KEY=\"a, b\"'"


def _several_values(override: str) -> str:
    key, _, values = override.partition("=")
    key = key.lstrip("+")
    kinds = {dotted: value for dotted, value, _ in leaves(Config())}
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    if key.partition(".")[0] not in {*groups, *ABLATIONS, "hydra"} and key not in kinds:
        return _unknown_key(key)
    if isinstance(kinds.get(key), list) and "(" not in values:
        return f"{override}: a list is written in brackets, {key}=[{values}] (in a shell in quotes)"
    path = ", and there is no such path" if key in DATA_PATHS and "(" not in values else ""
    return (
        f"{override} names several values{path}: one run takes one; to train with each in turn, add -m right after "
        "train.py: python train.py -m …"
    )


def _about_flags(text: str) -> str | None:
    """What Hydra says of its own flags that do not go together."""
    if text.startswith("Only one of --run"):
        return "-m does not go with --cfg or --info: --cfg shows one run, with one value for each key, without -m"
    if text.startswith("The --resolve flag"):
        return "--resolve goes with --cfg: python train.py … --cfg job --resolve"
    if match := re.fullmatch(r"File (.*) does not exist!", text):
        return f"--experimental-rerun {match[1]}: there is no such file"
    return None


def _no_option(override: Any) -> str:
    """What a config group takes, which was given null, true or a number."""
    group = override.key_or_group
    options = ", ".join(file.stem for file in sorted((CONF / group).glob("*.yaml")))
    keys = ", ".join(f"{key}=…" for key in known_keys() if key.startswith(f"{group}."))
    return (
        f"{override.input_line}: a config group takes the name of an option{f' ({options})' if options else ''}, not "
        f"null or a number{f'; values are given to its keys: {keys}' if keys else ''}"
    )


def _missing_option(error: MissingConfigException) -> str:
    missing = error.missing_cfg_file or ""
    group, _, option = missing.rpartition("/") if missing.startswith("hydra/") else missing.partition("/")
    known = list(error.options or [])
    for other in RECIPE_GROUPS:
        if group in RECIPE_GROUPS and (CONF / other / f"{option}.yaml").is_file():
            return f"{group}={option}: there is no such option. Did you mean +{other}={option}?"
    if group == "model":
        return f"model={option}: there is no such option ({', '.join(known)}); {unknown_option(option, known)}"
    hint = f" A folder is data=imagefolder data.root={option}" if group == "data" and "/" in option else ""
    return f"{group}={option}: there is no such option; choose {', '.join(known)}.{hint or did_you_mean(option, known)}"


def _wrong_value(chain: list[BaseException]) -> str:
    cause = next(link for link in reversed(chain) if isinstance(link, OmegaConfBaseException))
    if match := re.search(r"is not a subclass of (\w+)Config\b", str(cause)):
        section = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", match[1]).lower()
        keys = [key for key in known_keys() if key.startswith(f"{section}.")]
        return f"{section} is not a value but several keys: {', '.join(keys)}"
    first = _first_lines(str(cause))
    kinds = {"to Float": "a number", "to Integer": "a whole number", "valid bool": "true or false"}
    for sign, kind in kinds.items():
        if sign in first:
            return f"must be {kind}"
    return "null is not allowed here" if "is not Optional" in first else first


def _first_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(line for line in lines[:2] if not line.startswith("See https"))
