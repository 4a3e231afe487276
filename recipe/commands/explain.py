"""`recipe explain NAME …`: what a recipe changes, rung by rung, and what that comes to at a scale."""

import argparse
import re
from collections.abc import Iterator
from typing import Any

from recipe.config import Config
from recipe.errors import ConfigError
from recipe.ingredients.resizing import in_words, pixels
from recipe.output import count
from recipe.plan import compose, published, rungs
from recipe.plan.ablations import ABLATIONS, key_of
from recipe.plan.compose import Plan
from recipe.schema import leaves
from recipe.stored_config import text

WORLD_SIZES = (1, 2, 4, 8)


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser(
        "explain",
        help="what a recipe or experiment changes, rung by rung",
        description="Print what each rung up to a recipe changes, from what to what, with its published figures; and "
        "what the recipe comes to with a scale and other overrides.",
        epilog="Examples: recipe explain v2 scale=demo; recipe explain v2 --against v1; "
        "recipe explain tiny_imagenet_5 --layers 64",
    )
    parser.add_argument("name", metavar="NAME", help="as in +recipe=NAME or +experiment=NAME")
    parser.add_argument("arguments", nargs="*", metavar="KEY=VALUE", help="as train.py takes them: scale=demo …")
    parser.add_argument("--against", metavar="NAME", help="another recipe or experiment: the keys in which they differ")
    parser.add_argument("--layers", type=int, metavar="PIXELS", help="the model's layers for images of this size")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the chain of rungs, or with --layers the model's layers."""
    no_data = "data.root=."  # nothing is read; a data.root of the user's comes later and wins
    arguments.name = _name(arguments.name)
    plan = compose.plan_of([rungs.choice(arguments.name), no_data, *arguments.arguments], to_run=False)
    if arguments.against is not None:
        if arguments.layers is not None:
            raise ConfigError("--against and --layers are two questions: ask one of them")
        other = _name(arguments.against)
        compose.plan_of([rungs.choice(other), no_data, *arguments.arguments], to_run=False)  # is it right at all?
        lines = list(_against(other, plan.rung.name, arguments.arguments))
    elif arguments.layers is not None:
        from recipe.network.model import layer_table  # PyTorch

        lines = layer_table(plan.config, arguments.layers)
    else:
        ablations = [override for override in arguments.arguments if key_of(override) in ABLATIONS]
        others = [override for override in arguments.arguments if override not in ablations]
        lines = [*_chain(plan, others), *_ablations(plan, ablations, others), "", *_batches(plan.config)]
    print("\n".join(lines))


def _name(text: str) -> str:
    """A recipe's name, as it is or as train.py takes it."""
    return re.sub(rf"^\+?({'|'.join(compose.RECIPE_GROUPS)})=", "", text)


def _against(old: str, new: str, overrides: list[str]) -> Iterator[str]:
    """What two recipes are, their published figures, and each key that is another in the second, at a scale or not."""
    for name in (old, new):
        rung = rungs.rung(name)
        yield f"{name}: {_what_it_is(name)}".rstrip(": ")
        if rung.published:
            yield f"  published{' on ' + rung.on if rung.on else ''}: {published.in_words(rung.published)}"
    configs = compose.configs([old, new], overrides)
    before, after = ({key: value for key, value, _ in leaves(config)} for config in configs)
    apart = [key for key in after if before[key] != after[key] and not key.startswith("rung")]
    yield f"\n{old} → {new}: {count(len(apart), 'key') if apart else 'no key'} of {len(after)} differ"
    yield from (f"    {key:28} {text(before[key])} → {text(after[key])}" for key in apart)


def _chain(plan: Plan, overrides: list[str]) -> Iterator[str]:
    """Each rung from the first to the plan's: what it is, its published figures, what it changes."""
    scaled = plan.config.scale.name != "imagenet"
    below: tuple[Config, Config] | None = None
    published_below: float | None = None
    names = rungs.chain(plan.rung.name)
    if rungs.choice(names[0]).startswith("+experiment"):  # told in full: it has no rung below that says the rest
        below = compose.configs([None], [])[0], compose.configs([None], overrides)[0]
        yield "(changes from the defaults of conf/config.yaml, then from file to file)\n"
    written = compose.configs(names, [])
    scaled_down = compose.configs(names, overrides) if overrides else written
    for name, own, here in zip(names, written, scaled_down, strict=True):
        rung = rungs.rung(name)
        yield f"\n{name}" if name != names[0] else name
        yield f"  {_what_it_is(name)}"
        if rung.published:
            figure = "acc1" if "acc1" in rung.published else "best_acc1"
            acc1 = rung.published.get(figure)
            gain = {}
            if acc1 is not None and published_below is not None and acc1 != published_below:
                gain = {figure: f" ({acc1 - published_below:+.3f})"}
            yield f"  published: {published.in_words(rung.published, gain)}"
            for entry in rung.evaluated:
                figures = published.in_words(published.figures_of(entry))
                yield f"  published: {figures} (recipe evaluate RUN {published.command_of(entry)})"
            published_below = acc1
        if below is not None:
            yield from _differences(below, (own, here), scaled)
        below = own, here


def _ablations(plan: Plan, ablations: list[str], others: list[str]) -> Iterator[str]:
    """What `+without=` takes from the recipe and `+with=` adds; values on the command line stand for their own."""
    if not ablations:
        return

    def config(overrides: list[str]) -> Config:
        return compose.configs([plan.rung.name], overrides)[0]

    recipe = config([])
    before, after = ({key: value for key, value, _ in leaves(values)} for values in (recipe, config(ablations)))
    literal = [override for override in others if before.get(key_of(override)) != after.get(key_of(override))]
    others = [override for override in others if override not in literal]
    yield "\n" + " ".join(ablations)
    below = recipe, config(others)
    above = config([*ablations, *literal]), config([*others, *ablations, *literal])
    yield from _differences(below, above, plan.config.scale.name != "imagenet")


def _what_it_is(recipe: str) -> str:
    """The first comment of the recipe's file, after the line that Hydra reads."""
    path = rungs.recipe_file(recipe)
    comments = re.findall(r"^# (?!@package)(?:Rung \d+: )?(.*)$", path.read_text("utf-8") if path else "", re.MULTILINE)
    return comments[0] if comments else ""


def _differences(below: tuple[Config, Config], above: tuple[Config, Config], scaled: bool) -> Iterator[str]:
    """A line for each key that the rung changes; with a scale, also what the change is there."""
    written = [dict((key, value) for key, value, _ in leaves(config)) for config in (*below, *above)]
    old, old_here, new, new_here = written
    for key in new:
        if key.startswith(("rung", "scale")) or (old[key] == new[key] and old_here[key] == new_here[key]):
            continue
        line = f"    {key:28} {text(old[key])} → {text(new[key])}"
        if scaled and (old[key], new[key]) != (old_here[key], new_here[key]):
            line = f"{line:58}   here {text(old_here[key])} → {text(new_here[key])}"
        yield line


def _batches(c: Config) -> Iterator[str]:
    """What the recipe comes to: sizes, length, and how the micro-batches fall on processes."""
    micro_batches = c.batch_size // c.micro_batch_size
    sizes = c.resolution
    yield f"scale={c.scale.name}: {c.model.name}, {count(c.epochs, 'epoch')}"
    yield f"  pixels        train {in_words(c)}, validate {sizes.val_crop} of {sizes.val_resize}"
    baseline = Config()
    of_v1 = c.epochs * pixels(c) / (baseline.epochs * pixels(baseline))
    if c.scale.name == "imagenet":
        yield f"  cost          {of_v1:.3f} of v1's images x pixels, forward and backward"
    yield f"  learning rate {text(c.optimizer.lr)} for a batch of {c.batch_size}"
    yield f"  batch         {c.batch_size} = {micro_batches} micro-batches x {c.micro_batch_size}"
    for world_size in WORLD_SIZES:
        name = "1 process" if world_size == 1 else f"{world_size} processes"
        fits = micro_batches % world_size == 0
        share = (
            f"{micro_batches // world_size} x {c.micro_batch_size} images a step each" if fits else "cannot share them"
        )
        yield f"  {name:13} {share}"
