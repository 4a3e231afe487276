"""What a run is told at its start to set otherwise. Whoever follows it gets what it says, and is not told again."""

from collections.abc import Iterator, Set
from pathlib import Path

from recipe.config import Config
from recipe.network.definition import differences
from recipe.network.preprocessing import Preprocessing, own_preprocessing
from recipe.plan.scaling import even
from recipe.stored_config import text

SIZES = ("resolution.val_resize", "resolution.val_crop")


def other_preprocessing(c: Config, literal: Set[str]) -> Iterator[str]:
    """Lines where the model's source evaluates its weights on other pixels than this run.

    Args:
        literal: the keys that the command line gave, which `scale` leaves alone.
    """
    own = own_preprocessing(c.model)
    if own is None:
        return
    sizes = _sizes(c, own, literal)
    if c.model.weights is not None:
        yield from _as_the_weights_were_evaluated(c, own, sizes)
        return
    differ = []
    for name, theirs, ours in (("mean", own.mean, c.data.mean), ("std", own.std, c.data.std)):
        if any(abs(a - b) > 1e-3 for a, b in zip(theirs, ours, strict=True)):
            differ.append(f"{name} {'/'.join(f'{value:.3g}' for value in theirs)}")
    if sizes.get("val_crop", c.resolution.val_crop) != c.resolution.val_crop:
        differ.append(f"{sizes['val_crop']} px")
    if differ:
        yield f"{c.model.source} itself uses {', '.join(differ)} for it (data.mean, data.std, resolution)"


def other_network(c: Config) -> Iterator[str]:
    """A line for each key with which the weights that a run starts from were of another network, and fit all the same.

    (Those of other shapes are refused.)
    """
    for name, (theirs, ours) in differences(c.model).items():
        yield f"the weights were trained with model.{name}={text(theirs)}, and this run has {text(ours)}"


def _as_the_weights_were_evaluated(c: Config, own: Preprocessing, sizes: dict[str, int]) -> Iterator[str]:
    """The keys to set where this run's pixels are not those that its weights know."""
    here = {
        "data.mean": (c.data.mean, own.mean),
        "data.std": (c.data.std, own.std),
        **{f"resolution.{name}": (getattr(c.resolution, name), pixels) for name, pixels in sizes.items()},
        "resolution.interpolation": (c.resolution.interpolation, own.interpolation),
    }
    differ = [f"{key}={text(theirs)}" for key, (ours, theirs) in here.items() if text(ours) != text(theirs)]
    if differ:
        yield "the weights were evaluated with other pixels than this run's; to do as they did:"
        yield " ".join(differ)


def _sizes(c: Config, own: Preprocessing, literal: Set[str]) -> dict[str, int]:
    """The pixels of the weights' evaluation at this run's scale, and of a training that goes with it; empty where
    the run evaluates at them.

    A run's or a file's sizes are what they were; published ones are in ImageNet units, and scaled where the run's are.
    """
    ours = c.resolution
    plain, scaled = (own.resize, own.crop), (even(own.resize * c.scale.resolution), even(own.crop * c.scale.resolution))
    known = [plain, scaled] if own.published else [plain]
    if (ours.val_resize, ours.val_crop) in known:
        return {}
    resize, crop = plain if literal & set(SIZES) else known[-1]
    sizes = {"val_resize": resize, "val_crop": crop}
    if crop == ours.val_crop and own.train_crop in (None, ours.train_crop):
        return sizes
    # A network is best at sizes somewhat above those that it was trained at: both change together.
    share = (own.train_crop or even(ours.train_crop * crop / ours.val_crop)) / ours.train_crop
    if ours.train_resize is not None:
        sizes["train_resize"] = even(ours.train_resize * share)
    return {"train_crop": round(ours.train_crop * share), **sizes}


def what_next(run: str, config: Config) -> list[str]:
    """The commands that can be typed once a run has finished; `run` is its folder as they have it."""
    data, larger = config.data, even(config.resolution.val_resize * 1.1)
    has_test = data.test_dir is not None or (data.root is not None and Path(data.root, "test").is_dir())
    on_test, elsewhere = "split=test --report", f"resolution.val_resize={larger}   (at another size)"
    return [
        f"recipe evaluate {run} {on_test if has_test else elsewhere}",
        f"recipe predict {run} PHOTOS",
        f"recipe export {run} --format onnx",
    ]
