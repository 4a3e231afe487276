"""The names of networks, read without importing their libraries."""

import subprocess
import sys

import timm
import torchvision

from recipe.network.available import names, unknown_name, unknown_option


def test_names_are_those_of_the_libraries() -> None:
    assert sorted(names("torchvision")) == torchvision.models.list_models(module=torchvision.models)
    assert sorted(names("timm")) == sorted(timm.list_models())
    assert names("no_such_library") == []


def test_a_network_that_there_is_comes_with_the_key_that_takes_it() -> None:
    options = ["resnet18", "resnet50"]
    assert unknown_option("resnet34", options) == "torchvision has it: model.name=resnet34"
    assert unknown_option("convnextv2_tiny", options) == "timm has it: model.name=convnextv2_tiny model.source=timm"
    assert unknown_option("resnet5", options).endswith("Did you mean resnet50?")
    assert unknown_option("efficientnet_b00", options).endswith("Did you mean model.name=efficientnet_b0?")
    assert "timm has: add model.source=timm" in unknown_name("resnet50d", "torchvision", names("torchvision"))
    assert "Did you mean" not in unknown_name("xyz", "torchvision", names("torchvision"))


def test_a_wrong_network_is_refused_before_torch_is_imported() -> None:
    script = (
        "import sys; sys.modules['torch'] = None; from recipe.plan import compose, hydra_errors\n"
        "for model in ('model=resnet34', 'model.name=resnet35', 'model.name=resnet50d'):\n"
        "    try: compose.plan_of(['+recipe=v2', model])\n"
        "    except Exception as error: print(hydra_errors.explain(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    one, two, three = done.stdout.splitlines()
    assert "model=resnet34: there is no such option" in one
    assert "torchvision has it: model.name=resnet34" in one
    assert two.startswith("model.name=resnet35: torchvision has no model of this name. Did you mean resnet")
    assert "timm has: add model.source=timm" in three
