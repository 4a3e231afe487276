"""Who follows the advice on pixels, published weights' or a file's, is not given it again."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PHOTO_RUN

from recipe.config import Config, ModelConfig, ResolutionConfig
from recipe.logs.advice import other_preprocessing
from recipe.plan.compose import Plan
from recipe.run import trained

PlanOf = Callable[..., Plan]
Recipe = Callable[..., int]


def advised(config: Config, literal: tuple[str, ...] = ()) -> dict[str, str]:
    """The keys that a run is told to set."""
    lines = list(other_preprocessing(config, frozenset(literal)))
    return dict(word.split("=", 1) for word in lines[1].split()) if lines else {}


def fine_tuning(photo_run: Path, plan: PlanOf, weights: Path, *others: str) -> Plan:
    return plan(
        "+recipe=v2", *PHOTO_RUN, f"data.root={photo_run.parent / 'data'}", f"model.weights='{weights}'", *others
    )


@pytest.mark.parametrize("form", ["run", "exported"])
def test_weights_of_a_run_of_the_same_scale_need_no_advice(
    form: str, photo_run: Path, plan: PlanOf, recipe: Recipe, tmp_path: Path
) -> None:
    """Its pixels are those that it was evaluated with: the scale must not be applied to them again."""
    weights = photo_run
    if form == "exported":
        weights = tmp_path / "own.safetensors"
        assert recipe("export", photo_run, "--out", weights) == 0
    composed = fine_tuning(photo_run, plan, weights)
    assert advised(composed.config, tuple(composed.literal)) == {}


PIXELS = ("train_resize", "train_crop", "val_resize", "val_crop")


def test_whoever_follows_the_advice_has_the_pixels_of_the_weights_and_is_not_advised_again(
    photo_run: Path, plan: PlanOf
) -> None:
    """The training's crop goes with the validation's: a network is not good at a third of its pixels."""
    composed = fine_tuning(photo_run, plan, photo_run, "scale.resolution=0.5")
    advice = advised(composed.config, tuple(composed.literal))
    followed = fine_tuning(
        photo_run, plan, photo_run, "scale.resolution=0.5", *(f"{key}={value}" for key, value in advice.items())
    )
    assert advised(followed.config, tuple(followed.literal)) == {}
    ours, theirs = followed.config.resolution, trained.read(photo_run).config.resolution
    assert all(getattr(ours, name) == getattr(theirs, name) for name in (*PIXELS, "interpolation"))
    assert composed.config.resolution != followed.config.resolution


def published(scale: float, **sizes: int) -> Config:
    config = Config(model=ModelConfig(name="efficientnet_b3", weights="IMAGENET1K_V1"))  # 300 of 320 pixels, bicubic
    config.scale.resolution = scale
    config.resolution = ResolutionConfig(**sizes, interpolation="bicubic")
    return config


def test_published_weights_ask_for_their_pixels_and_for_a_training_that_goes_with_them() -> None:
    config = published(1.0, train_crop=192, val_resize=256, val_crop=224)
    assert advised(config) == {
        "resolution.train_crop": "258",  # 192 of 224 are 258 of 300
        "resolution.val_resize": "320",
        "resolution.val_crop": "300",
    }
    assert advised(published(1.0, train_crop=258, val_resize=320, val_crop=300), ("resolution.val_crop",)) == {}


def test_published_sizes_are_scaled_where_the_run_s_are() -> None:
    assert advised(published(0.5, train_crop=112, val_resize=128, val_crop=112))["resolution.val_crop"] == "150"
    assert advised(published(0.5, train_crop=150, val_resize=160, val_crop=150)) == {}
    given = ("resolution.train_crop", "resolution.val_resize", "resolution.val_crop")
    assert advised(published(0.5, train_crop=300, val_resize=320, val_crop=300), given) == {}
    assert advised(published(0.5, train_crop=224, val_resize=256, val_crop=224), given)["resolution.val_crop"] == "300"
