"""`recipe evaluate` gives the figures that a training with that evaluation gives, and refuses what does not fit."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipe import __main__
from recipe.finished.evaluation.choice import EvaluationSetting, choose_on_half
from recipe.plan.compose import PROJECT, Plan
from recipe.run.run import train

SMALL = ["scale=demo", "scale.resolution=0.0715", "data=synthetic", "data.size=256", "data.workers=0"]
SMALL = [*SMALL, "model.name=shufflenet_v2_x0_5", "max_steps=3", "schedule.warmup_epochs=0", "ema.steps=1"]
SMALL = [*SMALL, "optimizer.lr=0.25"]  # enough for the three rungs' figures to differ on any processor
OWN = EvaluationSetting("ema", 16, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, plan: Callable[..., Plan]) -> Path:
    """Where r11 and then r09 and r10, its other evaluations, were run."""
    root = tmp_path_factory.mktemp("runs")
    for recipe in ("r11_inference_resize", "r09_fixres", "r10_ema"):
        train(planned(plan, root, recipe))
    return root


def planned(plan: Callable[..., Plan], root: Path, recipe: str, *more: str) -> Plan:
    ema = [] if recipe.startswith("r09") else ["ema.decay=0.99999"]
    small = [override for override in SMALL if ema or not override.startswith("ema")]
    composed = plan(f"+recipe={recipe}", *small, *ema, *more)
    return replace(composed, folder=root / composed.name / "seed=0")


def run_folder(root: Path, recipe: str) -> Path:
    (found,) = root.glob(f"{recipe}*/seed=0")
    return found


def result(root: Path, recipe: str) -> Any:
    return json.loads((run_folder(root, recipe) / "result.json").read_text())


def recipe(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe", *arguments])
    __main__.main()


def test_rungs_that_differ_in_evaluation_alone_are_trained_once(folder: Path) -> None:
    r09, r10, r11 = (result(folder, name) for name in ("r09", "r10", "r11"))
    assert r09["training_hash"] == r10["training_hash"] == r11["training_hash"]
    assert len({r["result_hash"] for r in (r09, r10, r11)}) == 3
    trained = f"../../{run_folder(folder, 'r11').parent.name}/seed=0"
    assert (r09["trained_in"], r10["trained_in"]) == (trained, trained)
    assert "trained_in" not in r11
    assert r09["raw"] == r10["raw"]  # the same weights at the same size
    assert "ema" not in r09
    assert r10["loss"] == r10["ema"]["loss"] not in (r10["raw"]["loss"], r11["loss"])
    assert r09["seconds"] == r11["seconds"]


def test_shared_training_gives_what_training_again_would(
    folder: Path, tmp_path: Path, plan: Callable[..., Plan]
) -> None:
    train(planned(plan, tmp_path, "r09_fixres"))
    again, shared = result(tmp_path, "r09"), result(folder, "r09")
    assert "trained_in" not in again
    assert again["raw"] == shared["raw"]
    one, other = (np.load(run_folder(root, "r09") / "predictions.npz") for root in (tmp_path, folder))
    assert all(np.array_equal(one[name], other[name]) for name in ("index", "label", "logits"))
    files = [run_folder(root, "r09") / "checkpoints" / "model.safetensors" for root in (tmp_path, folder)]
    assert files[0].read_bytes() == files[1].read_bytes()
    curves = [
        [
            row
            for line in (run_folder(root, "r09") / "metrics.jsonl").open()
            if "train/loss" in (row := json.loads(line))
        ]
        for root in (tmp_path, folder)
    ]
    assert [row["train/loss"] for row in curves[0]] == [row["train/loss"] for row in curves[1]] != []


@pytest.mark.slow
def test_other_trainings_are_not_shared(folder: Path, plan: Callable[..., Plan], tmp_path: Path) -> None:
    """Another learning rate, another average, another seed; and resume=never trains anew."""
    shutil.copytree(folder, tmp_path / "runs")
    for more in (["optimizer.lr=0.01"], ["ema.decay=0.999999"], ["resume=never"]):
        other = planned(plan, tmp_path / "runs", "r10_ema", *more)
        train(other)
        assert "trained_in" not in json.loads((other.folder / "result.json").read_text()), more


def test_training_on_other_images_is_not_shared(folder: Path, plan: Callable[..., Plan], tmp_path: Path) -> None:
    shutil.copytree(run_folder(folder, "r11"), tmp_path / run_folder(folder, "r11").parent.name / "seed=0")
    environment = run_folder(tmp_path, "r11") / "environment.json"
    content = json.loads(environment.read_text())
    content["data"]["train"] = "of other photos"
    environment.write_text(json.dumps(content))
    train(planned(plan, tmp_path, "r09_fixres"))
    assert "trained_in" not in result(tmp_path, "r09")


def test_evaluations_equal_those_of_the_runs_themselves(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_folder(folder, "r11")
    sizes = {name: json.loads((run_folder(folder, name) / "result.json").read_text()) for name in ("r09", "r10", "r11")}
    recipe(monkeypatch, "evaluate", str(run), "resolution.val_resize=16,18", "weights=raw,ema", "data.workers=0")
    printed = capsys.readouterr().out
    found = {
        (entry["weights"], entry["val_resize"]): entry["loss"]
        for entry in json.loads((run / "evaluations.json").read_text())["evaluations"]
    }
    assert len(found) == 4
    assert found["ema", 16] == sizes["r11"]["ema"]["loss"]
    assert found["raw", 16] == sizes["r11"]["raw"]["loss"]
    assert found["ema", 18] == sizes["r10"]["ema"]["loss"]
    assert found["raw", 18] == sizes["r09"]["raw"]["loss"]
    assert printed.count("(the run's own)") == 1


def test_run_that_another_trained_is_evaluated_with_those_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_folder(folder, "r10")
    recipe(monkeypatch, "evaluate", str(run), "weights=raw,ema", "data.workers=0")
    raw, ema = reversed(json.loads((run / "evaluations.json").read_text())["evaluations"])
    assert (raw["loss"], ema["loss"]) == (result(folder, "r10")["raw"]["loss"], result(folder, "r10")["ema"]["loss"])


def test_odd_crop_fits_into_its_own_proportion(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run resizes to its crop of 16: an odd crop must not be asked of an image rounded down to even."""
    run = run_folder(folder, "r11")
    recipe(monkeypatch, "evaluate", str(run), "resolution.val_crop=17", "data.workers=0")
    entries = json.loads((run / "evaluations.json").read_text())["evaluations"]
    assert [entry["val_resize"] for entry in entries if entry["val_crop"] == 17] in ([17], [18])


def test_combinations_that_do_not_fit_are_left_out_and_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_folder(folder, "r11")
    recipe(
        monkeypatch, "evaluate", str(run), "resolution.val_resize=18,20", "resolution.val_crop=18,20", "data.workers=0"
    )
    assert "1 combination left out: " in capsys.readouterr().out


def test_choice_and_figure_are_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_folder(folder, "r11")
    figure = tmp_path / "figure.png"
    recipe(
        *(monkeypatch, "evaluate", str(run), "resolution.val_crop=16,24", "data.workers=0"),
        *("--choose", "--figure", str(figure)),
    )
    assert figure.stat().st_size > 10_000
    content = json.loads((run / "evaluations.json").read_text())
    assert {(e["val_resize"], e["val_crop"]) for e in content["evaluations"]} >= {(16, 16), (24, 24)}
    assert content["choice"]["images_to_choose"] == content["choice"]["images_to_confirm"] == 32


def test_choice_is_made_on_one_half_and_confirmed_on_the_other() -> None:
    """A setting that is right on the half it was chosen on and wrong on the other must not look good."""
    images = 1000
    everywhere, half = EvaluationSetting("ema", 18, 16), EvaluationSetting("ema", 20, 16)
    correct = {OWN: torch.arange(images) % 2 == 0}
    picked = choose_on_half({OWN: correct[OWN], everywhere: torch.ones(images, dtype=torch.bool)}, OWN)
    assert picked["val_resize"] == 18
    assert picked["acc1"] == 100
    assert picked["difference"] == pytest.approx(100 - picked["acc1_of_own"])

    order = torch.randperm(images, generator=generator())
    lucky = torch.zeros(images, dtype=torch.bool)
    lucky[order[:500]] = True
    picked = choose_on_half({OWN: correct[OWN], half: lucky}, OWN)
    assert (picked["val_resize"], picked["acc1_where_chosen"], picked["acc1"]) == (20, 100, 0)
    own = correct[OWN][order[500:]].double()
    assert picked["difference"] == pytest.approx(-100 * own.mean().item())
    assert picked["standard_error"] == pytest.approx(100 * (own.var() / 500).sqrt().item())


def generator() -> torch.Generator:
    from recipe.randomness import generator_at

    return generator_at(0, "halves")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN", "resolution.val_reszie=3"], "Did you mean resolution.val_resize?"),
        (["RUN", "resolution.val_resize=x"], "resolution.val_resize=x: must be a whole number, at least 8"),
        (["RUN", "resolution.val_resize=10"], "crops of 16 px do not fit into images resized to 10 px"),
        (["RUN", "resolution.val_crop=40", "resolution.val_resize=24"], "crops of 40 px do not fit"),
        (["RUN", "weights=emma"], "has ema, raw, best. Did you mean ema?"),
        (["RUN", "split=tset"], "Did you mean test?"),
        (["RUN", "split=val,test"], "one value at a time"),
        (["RUN", "--out", "x"], "--out takes the --report of one run"),
        (["RUN", "--figure", "x.tflite"], "its ending says the kind of picture, .png, .svg, .pdf"),
        (["RUN", "data.root=a,b"], "one value at a time"),
        (["weights=ema"], "which run?"),
        (["/"], "/ is not the folder of a run"),
        (["/nowhere"], "there is no folder /nowhere"),
        (["RUN/config.yaml"], "config.yaml is a file, and the folder of a run is asked for: /"),
        ([__file__], "test_evaluate.py is a file, and the folder of a run is asked for\n"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(
    folder: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = str(run_folder(folder, "r11"))
    with pytest.raises(SystemExit) as stopped:
        recipe(monkeypatch, "evaluate", *(argument.replace("RUN", run) for argument in arguments))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_size_that_the_network_does_not_take_is_refused(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["scale=demo", "data=synthetic", "data.size=64", "data.workers=0", "max_steps=1", "log.images=false"]
    sizes = ["resolution.train_crop=40", "resolution.val_resize=40", "resolution.val_crop=40"]
    composed = plan("+recipe=r01_lr_optimizations", *small, *sizes, "model.name=squeezenet1_1")
    train(replace(composed, folder=tmp_path / "run"))
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        recipe(monkeypatch, "evaluate", str(tmp_path / "run"), "resolution.val_crop=40,12", "resolution.val_resize=40")
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "model.name=squeezenet1_1 does not take images of 12 px (resolution.val_crop): " in error
    assert error.count("\n") == 1


def test_unfinished_run_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "environment.json").write_text("{}")
    with pytest.raises(SystemExit):
        recipe(monkeypatch, "evaluate", str(tmp_path))
    assert "has not finished" in capsys.readouterr().err


def test_command_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "recipe", "evaluate", "/nowhere"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "Error: there is no folder /nowhere\n")
