"""A store is known as one: by training, which refuses what is not finished, and by what a run says of itself."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from photos import encoded, photo
from stores import load, originals, place, prepared, unfinished

from recipe.data.store import store_of
from recipe.errors import DataError
from recipe.plan.compose import Plan
from recipe.run.run import train

KEPT = "checkpoint.keep_after_training=true"  # to go on with, once result.json is taken away


SMALL = ["scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "data.workers=0", "log.images=false"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return originals(tmp_path / "source")


def test_unfinished_store_is_refused_by_training(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished(source, monkeypatch)
    target = source.with_name("store")
    command = f"recipe data store --train-dir=train --max-side=48 --quality=90 {source} {target}"
    for keys in ({}, {"val_fraction": 0.5}):
        with pytest.raises(DataError, match=f"not finished.* {command}"):
            load(target, **keys)
    prepared(source)
    assert [len(images) for images in load(target)] == [4, 4]


def test_run_says_which_store_it_was_trained_on(
    source: Path, plan: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(64):
        place(source / "train" / "ant" / f"{number}.jpg", encoded(photo(), "JPEG"))
    facts = prepared(source)
    environments = []
    for root in (source, source.with_name("store")):
        composed = plan("+recipe=r00_baseline", *SMALL, "data=imagefolder", f"data.root={root}", "max_steps=2", KEPT)
        composed = replace(composed, folder=root.with_name(f"run_{root.name}"))
        train(composed)
        line = "a store of max side 48, quality 90 (pixels differ from the originals)"
        assert (line in capsys.readouterr().out) == (root != source)
        environments.append(json.loads((composed.folder / "environment.json").read_text()))
        without = {name: value for name, value in environments[-1].items() if name != "store"}
        (composed.folder / "environment.json").write_text(json.dumps(without))
        (composed.folder / "result.json").unlink()
        train(composed)  # as one that was begun before there were stores: it goes on
        assert json.loads((composed.folder / "environment.json").read_text())["store"] == environments[-1]["store"]
    assert environments[0]["store"] is None
    assert environments[1]["store"] == {name: facts[name] for name in ("source", "max_side", "quality")}
    assert environments[0]["data"]["train"] == facts["source"] != environments[1]["data"]["train"]
    assert environments[0]["data"]["val"] == environments[1]["data"]["val"]


def test_file_of_another_program_makes_no_store(source: Path) -> None:
    place(source / "store.json", b'["milk", "bread"]')
    place(source / "store.unfinished.json", b"{}")
    assert store_of(str(source)) is None
    assert [len(images) for images in load(source)] == [4, 4]
    assert store_of(None) is None
    prepared(source)
    assert json.loads((source / "store.json").read_text()) == ["milk", "bread"]
