"""From a command line to a plan: scaling, the folder's name, hashes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recipe import stored_config
from recipe.config import Config, ScaleConfig
from recipe.plan import hashes
from recipe.plan.compose import PROJECT, Plan
from recipe.plan.naming import NAME_LENGTH
from recipe.plan.scaling import scale

Composer = Callable[..., Plan]


def test_scale_imagenet_changes_nothing(plan: Composer) -> None:
    config = plan("+recipe=v2", "scale=imagenet").config
    assert (config.epochs, config.batch_size, config.micro_batch_size, config.optimizer.lr) == (600, 1024, 128, 0.5)
    assert (config.resolution.train_crop, config.resolution.val_resize, config.resolution.val_crop) == (176, 232, 224)
    assert (config.schedule.warmup_epochs, config.schedule.interval) == (5, "epoch")


def test_scale_keeps_proportions(plan: Composer) -> None:
    full, demo = plan("+recipe=v2").config, plan("+recipe=v2", "scale=demo").config
    assert demo.model.name == "resnet18"
    assert demo.epochs == 40
    assert demo.schedule.warmup_epochs / demo.epochs == pytest.approx(full.schedule.warmup_epochs / full.epochs)
    assert demo.schedule.interval == "step"
    assert demo.optimizer.lr / demo.batch_size == pytest.approx(full.optimizer.lr / full.batch_size)
    assert demo.batch_size // demo.micro_batch_size >= demo.sampler.repetitions
    crops = demo.resolution.train_crop, demo.resolution.val_crop, demo.resolution.val_resize
    assert crops == (50, 64, 66)  # 176, 224 and 232 times 64/224, to even numbers


def test_training_crops_keep_their_share_of_the_resized_image(plan: Composer) -> None:
    sizes = plan("+recipe=v1", "scale=imagenet", "resolution.train_resize=256").config.resolution
    assert (sizes.train_resize, sizes.train_crop) == (256, 224)
    config = Config(resolution=sizes, scale=ScaleConfig(name="half", resolution=0.5))
    half = scale(config, frozenset()).resolution
    assert (half.train_resize, half.train_crop) == (128, 112)
    assert plan("+recipe=v1", "scale=demo").config.resolution.train_resize is None


def test_scaled_step_decay_keeps_its_share_of_the_run(plan: Composer) -> None:
    demo = plan("+recipe=v1", "scale=demo").config
    assert demo.schedule.step_size / demo.epochs == pytest.approx(30 / 90)


def test_values_on_the_command_line_are_not_scaled(plan: Composer) -> None:
    config = plan("+recipe=v2", "scale=demo", "epochs=7", "optimizer.lr=0.2", "resolution.train_crop=48").config
    assert (config.epochs, config.optimizer.lr, config.resolution.train_crop) == (7, 0.2, 48)
    assert plan("+recipe=v1", "scale=demo", "schedule.step_size=3").config.schedule.step_size == 3
    assert config.batch_size == 128


def test_model_chosen_on_the_command_line_is_kept(plan: Composer) -> None:
    assert plan("+recipe=v2", "scale=demo", "model=resnet50").config.model.name == "resnet50"
    assert plan("+recipe=v2", "scale=demo", "model=resnet101").config.model.name == "resnet101"


def test_folder_name_tells_what_differs_from_the_recipe(plan: Composer) -> None:
    assert plan("+recipe=v2").name == "v2"
    assert plan("+recipe=v2", "scale=demo").name == "v2~scale=demo"
    assert plan("+recipe=v2", "data=synthetic", "scale=demo").name == "v2~data=synthetic,scale=demo"
    assert plan("+recipe=v2", "optimizer.lr=0.4").name == "v2~optimizer.lr=0.4"


def test_folder_name_leaves_out_what_cannot_change_the_result(plan: Composer, tmp_path: Path) -> None:
    same = ("seed=3", "data.workers=2", "runtime.device=cpu", "log.every_steps=5", f"data.root={tmp_path}")
    assert plan("+recipe=v2", *same).name == "v2"


def test_folder_name_is_one_for_one_run(plan: Composer) -> None:
    written = [plan("+recipe=v2", f"optimizer.lr={lr}").name for lr in ("0.4", ".4", "0.40", "4e-1")]
    assert len(set(written)) == 1
    swapped = (
        plan("+recipe=v2", "optimizer.lr=0.4", "epochs=9"),
        plan("+recipe=v2", "epochs=9", "optimizer.lr=0.4"),
    )
    assert swapped[0].name == swapped[1].name
    assert plan("+recipe=v2", "epochs=600", "optimizer.lr=0.5").name == "v2"


def test_folder_name_differs_where_only_the_evaluation_does(plan: Composer) -> None:
    without, with_average = plan("+recipe=v2", "ema=none"), plan("+recipe=v2")
    assert without.name != with_average.name
    assert without.training_hash == with_average.training_hash


def test_long_folder_names_are_cut_and_stay_distinct(plan: Composer) -> None:
    long = ("augment.hflip=0.25", "augment.scale=[0.1,0.9]", "loss.label_smoothing=0.2", "optimizer.momentum=0.8")
    one, other = plan("+recipe=v2", *long, "seed=1"), plan("+recipe=v2", *long, "optimizer.weight_decay=3e-5")
    assert len(one.name) <= NAME_LENGTH
    assert one.name != other.name
    assert one.name == plan("+recipe=v2", *long, "seed=2").name
    assert not set(one.name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.=,_~-")


def test_training_hash_holds_all_that_changes_the_weights(plan: Composer) -> None:
    base = plan("+recipe=v2").training_hash
    for change in ("seed=1", "optimizer.lr=0.4", "runtime.precision=bf16", "data.mean=[0,0,0]", "max_steps=5"):
        assert plan("+recipe=v2", change).training_hash != base, change
    for change in ("ema.decay=0.9", "resolution.val_resize=240", "evaluate.every=3", "data.workers=1", "resume=never"):
        assert plan("+recipe=v2", change).training_hash == base, change


@pytest.mark.parametrize("stopper", ["schedule=plateau", "early_stopping.patience=3"])
def test_training_hash_holds_evaluations_where_they_change_the_weights(plan: Composer, stopper: str) -> None:
    command = ("+recipe=v2", stopper)
    base = plan(*command).training_hash
    assert base != plan("+recipe=v2").training_hash
    for change in ("evaluate.every=3", "ema.decay=0.9", "resolution.val_resize=240"):
        assert plan(*command, change).training_hash != base, change
    assert plan(*command, "data.workers=1").training_hash == base


def test_resolved_config_reads_back_as_it_was_written(plan: Composer, tmp_path: Path) -> None:
    config = plan("+recipe=v2", "scale=demo").config
    (tmp_path / "config.yaml").write_text(stored_config.to_yaml(config))
    read = stored_config.load(tmp_path / "config.yaml")
    assert hashes.digest(read, {"weights", "result"}) == hashes.digest(config, {"weights", "result"})


@pytest.mark.parametrize(
    "arguments",
    [
        ["+recipe=v2", "optimizer.lr=-1"],
        ["+recipe=v2", "epoch=3"],
        ["+recpie=v2"],
        ["--cfg", "job"],
        ["-m", "+recipe=v2", "optimizer.lr=-1,-2"],
    ],
    ids=" ".join,
)
def test_config_errors_come_before_torch_is_imported(arguments: list[str]) -> None:
    """Nor is what runs sweeps, but for a sweep."""
    blocked = ["torch"] if "-m" in arguments else ["torch", "recipe.sweep"]
    script = (
        f"import sys, runpy; sys.modules.update(dict.fromkeys({blocked})); sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(PROJECT / "train.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == (0 if "--cfg" in arguments else 2), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("by_hand", [(), ("hydra.run.dir=mine",)], ids=["named folder", "folder by hand"])
def test_a_start_plans_once(tmp_path: Path, by_hand: tuple[str, ...]) -> None:
    """Weights in a file of gigabytes would be read twice."""
    script = tmp_path / "counting.py"
    script.write_text(
        "from recipe import train\nfrom recipe.plan import compose\nplan = compose.plan\n"
        "def counted(*arguments):\n    print('planned')\n    return plan(*arguments)\n"
        "compose.plan = counted\ntrain.main()\n"
    )
    small = ("scale=demo", "scale.resolution=0.0715", "data=synthetic", "data.size=64", "data.workers=0", "max_steps=1")
    done = subprocess.run(
        [sys.executable, str(script), "+recipe=v1", *small, "model.name=shufflenet_v2_x0_5", *by_hand],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "RECIPE_OUTPUTS": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("planned") == 1
    (result,) = tmp_path.rglob("result.json")
    assert by_hand == () or result.parent == tmp_path / "mine"
    assert f"output_dir: {result.parent}\n" in (result.parent / ".hydra" / "hydra.yaml").read_text()


def test_runtimes_leave_policies_where_they_are(plan: Callable[..., Plan]) -> None:
    """On a GPU the device makes the step longer by more than its workers save."""
    for runtime in ("default", "bf16", "fast"):
        assert plan("+recipe=v2", f"runtime={runtime}").config.augment.policy_on == "host"
        assert plan("+recipe=v2", f"runtime={runtime}", "augment.policy_on=device").config.augment.policy_on == "device"
