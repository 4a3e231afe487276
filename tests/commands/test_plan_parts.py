"""The parts of `recipe plan`: seeds, rates, devices, and what finished runs tell."""

import math
from pathlib import Path

import pytest
from plans import arguments, ladder_of_two

from recipe.commands import plan
from recipe.commands.planning import devices, measured, rates, seeds, told
from recipe.config import Config
from recipe.errors import ConfigError, RunError


def test_twice_the_noise_takes_about_four_times_the_seeds() -> None:
    quiet, loud = (seeds.seeds(0.118, math.sqrt(2) * sd, 12)[0] for sd in (0.12, 0.24))
    assert quiet is not None
    assert loud is not None
    assert 3.5 < loud / quiet < 4.5
    assert seeds.seeds(0.001, 0.17, 12) == (None, None)


def test_a_gap_is_compared_with_the_nearest_rung_named() -> None:
    [(name, (over, gain))] = seeds.published_gains(["r00_baseline", "r06_mixup"]).items()
    assert (name, over) == ("r06_mixup", "r00_baseline")
    assert gain == pytest.approx(79.232 - 76.130)


@pytest.mark.parametrize("text", ["recipe=r00", "+recipe=nothing", "+recipe=glob(zz*)", "+recipe="])
def test_what_names_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        seeds.chosen(text)


def test_a_rate_is_of_a_size_and_scales_with_the_pixels() -> None:
    assert rates.at(rates.given("2500"), 224) == 2500
    assert rates.at(rates.given("2500@112"), 224) == pytest.approx(625)
    assert rates.given("h100").pixels == 176


def test_images_that_grow_count_by_their_mean() -> None:
    growing = [f"resolution.{key}" for key in ("first_crop=112", "grow_from=44", "grow_until=45")]
    [half] = plan.plan(arguments("+recipe=r00_baseline", *growing, "--rate", "1000")).trainings
    # 45 of 90 epochs at a quarter of the pixels, 45 at all: 5/8 of them.
    assert half.rate == pytest.approx(1000 * 8 / 5)


def test_every_published_rate_stands_in_performance_md_or_names_its_source() -> None:
    text = Path("docs/PERFORMANCE.md").read_text("utf-8")
    for figure in ("7,262", "57,102", "| 892 |", "| 470 |", "0.50 policy"):
        assert figure in text, figure
    assert all("measured" in one.source or "by NVIDIA" in one.source for one in rates.PUBLISHED.values())


def test_the_host_s_policy_and_repeats_count_in_the_loader() -> None:
    config = Config()
    config.augment.policy = "none"
    assert rates.loading_milliseconds(config) == pytest.approx(1000 / 470)
    config.augment.policy = "ta_wide"
    assert rates.loading_milliseconds(config) == pytest.approx(1000 / 470 + 0.5)
    config.sampler.repetitions, config.augment.policy_on = 4, "device"
    assert rates.loading_milliseconds(config) == pytest.approx(1000 / 892)


def _spread(**values: object) -> dict[int, devices.OnDevices]:
    config = Config(batch_size=1024, micro_batch_size=128, epochs=2)
    config.model.name = "resnet50"
    given: dict[str, object] = {"images": 102_400, "rate": 2000.0, "loader_ms": 2.0, "cores": None, **values}
    return {one.devices: one for one in devices.spread(config, **given)}  # type: ignore[arg-type]


def test_a_step_is_computing_and_a_ring_by_hand() -> None:
    on = _spread(links=(100.0, 10.0))
    assert on[1].step_seconds == pytest.approx(1024 / 2000)
    assert on[1].epoch_seconds == pytest.approx(100 * 1024 / 2000)
    size = 4 * devices.PARAMETERS["resnet50"]
    assert on[8].step_seconds == pytest.approx(128 / 2000 + 2 * 7 / 8 * size / 100e9 + 14 * devices.LATENCY)
    assert on[16].step_seconds == pytest.approx(64 / 2000 + 2 * 15 / 16 * size / 10e9 + 30 * devices.LATENCY)
    assert on[16].efficiency < on[8].efficiency < on[1].efficiency == 1


def test_too_few_cores_are_what_a_step_waits_for() -> None:
    on = _spread(cores=2.0)  # 1,000 images a second
    assert on[1].step_seconds == pytest.approx(1.024)
    assert on[1].limit == "loading"
    assert _spread(cores=16.0)[1].limit == ""


def test_micro_batches_are_the_recipe_s_while_they_can_be_shared() -> None:
    on = _spread()
    assert (on[8].micro_batches, on[8].micro_batch) == (1, 128)
    assert (on[16].micro_batches, on[16].micro_batch) == (1, 64)
    config = Config(batch_size=96, micro_batch_size=32)
    config.model.name = "resnet50"
    by_count = {one.devices: one for one in devices.spread(config, 1000, 2000.0, 2.0, None)}
    assert (by_count[2].micro_batches, by_count[2].micro_batch) == (2, 24)  # three of 32 cannot be halved
    assert by_count[64].micro_batches is None


@pytest.mark.parametrize("name", sorted(devices.PARAMETERS))
def test_parameters_are_torchvision_s(name: str) -> None:
    models = pytest.importorskip("torchvision.models")
    assert models.get_model_weights(name).DEFAULT.meta["num_params"] == devices.PARAMETERS[name]


def test_a_spread_from_runs_is_that_of_the_report(tmp_path: Path) -> None:
    runs = ladder_of_two(tmp_path)
    found = measured.spreads(runs)
    assert found.sd == pytest.approx(math.sqrt((1.0 + 0.25) / 2))  # variances 1 and 1/4, two degrees of freedom each
    assert (found.settings, found.freedom) == (2, 4)
    planned = plan.plan(arguments("+recipe=r00_baseline,r01_lr_optimizations", "--from", str(runs)))
    assert planned.sd == found.sd
    [needed] = planned.needed
    assert needed.sd == found.of_differences["r01_lr_optimizations", "r00_baseline"] == pytest.approx(1.5)
    assert "2 settings with several runs (4 degrees of freedom). Of these gains 1 were run" in told.text(planned, 300)


def test_a_rate_from_runs_is_taken_where_the_model_is_the_same(tmp_path: Path) -> None:
    runs = ladder_of_two(tmp_path)
    planned = plan.plan(arguments("+recipe=r00_baseline", "--from", str(runs)))
    assert planned.trainings[0].source == "as earlier runs here"
    assert planned.trainings[0].rate == pytest.approx(1000)


def test_runs_that_tell_no_spread_are_refused_but_for_a_given_one(tmp_path: Path) -> None:
    runs = ladder_of_two(tmp_path, seeds=1)
    with pytest.raises(RunError, match="no setting has several finished runs"):
        measured.spreads(runs)
    assert plan.plan(arguments("+recipe=r00_baseline", "--from", str(runs), "--sd", "0.2")).sd == 0.2
