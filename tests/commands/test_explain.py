"""`recipe explain` says what every rung changes, at any scale, without data."""

import sys

import pytest

from recipe import __main__


def explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["recipe", "explain", *arguments])
    __main__.main()
    return capsys.readouterr().out


def test_data_that_is_elsewhere_is_no_hindrance(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "8 x 128" in explained(monkeypatch, capsys, "v2", "data=imagenet")


def test_every_rung_says_what_it_changes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = explained(monkeypatch, capsys, "v2")
    rungs = text.split("\n\n")
    assert [rung.splitlines()[0][:3] for rung in rungs[:-1]] == [*(f"r{n:02}" for n in range(13)), "v2"]
    assert rungs[1].splitlines()[2:] == [
        "  published: top-1 76.494 (+0.364), top-5 93.198",
        "    batch_size                   256 → 1024",
        "    micro_batch_size             32 → 128",
        "    optimizer.lr                 0.1 → 0.5",
        "    schedule.name                step → cosine",
        "    schedule.warmup_epochs       0 → 5",
    ]
    assert "  8 processes   1 x 128 images a step each" in rungs[-1]
    assert "here" not in text
    assert explained(monkeypatch, capsys, "+recipe=v2") == text  # as train.py takes it


def test_scale_is_shown_beside_the_recipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = explained(monkeypatch, capsys, "r09_fixres", "scale=demo", "optimizer.lr=0.3")
    (fixres,) = [line for line in text.splitlines() if "train_crop" in line]
    assert fixres.split() == ["resolution.train_crop", "224", "→", "176", "here", "64", "→", "50"]
    assert "learning rate 0.3 for a batch of 128" in text
    assert "128 = 4 micro-batches x 32" in text
    assert "8 processes   cannot share them" in text


@pytest.mark.parametrize(("stem", "sizes"), [("imagenet", ["32 x 32", "16 x 16"]), ("small", ["64 x 64", "64 x 64"])])
def test_layers_have_their_sizes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stem: str, sizes: list[str]
) -> None:
    text = explained(monkeypatch, capsys, "v1", "model=resnet18", f"model.stem={stem}", "--layers", "64")
    rows = {line.split()[0]: line for line in text.splitlines()}
    assert f"64 x {sizes[0]}" in rows["conv1"]
    assert f"64 x {sizes[1]}" in rows["layer1.0"]
    assert rows["fc"].split() == ["fc", "Linear", "1000", "513,000"]
    assert rows["all"].split()[1] == ("11,689,512" if stem == "imagenet" else "11,681,832")


def test_convolutions_and_poolings_have_their_windows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    title, *lines = explained(monkeypatch, capsys, "v1", "model=resnext50_32x4d", "--layers", "224").splitlines()
    assert title.split() == ["layer", "kind", "kernel", "stride", "padding", "groups", "output", "parameters"]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["conv1"] == ["Conv2d", "7x7", "2", "3", "1", "64", "x", "112", "x", "112", "9,408"]
    assert rows["maxpool"] == ["MaxPool2d", "3x3", "2", "1", "64", "x", "56", "x", "56", "0"]
    assert rows["layer2.0.conv2"] == ["Conv2d", "3x3", "2", "1", "32", "256", "x", "28", "x", "28", "18,432"]
    assert rows["layer2.0"][0] == "Bottleneck"
    names = [line.split()[0] for line in lines]
    assert names.index("layer2.0") < names.index("layer2.0.conv1") < names.index("layer2.1")
    assert {len(line) for line in lines} == {len(title)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["v3"], "recipe=v3: there is no such option"), (["v2", "optimizer.lrr=1"], "Did you mean optimizer.lr?")],
)
def test_wrong_names_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        explained(monkeypatch, capsys, *arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_experiments_are_explained_from_the_defaults_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = explained(monkeypatch, capsys, "tiny_imagenet_5")  # whose weights need not be there
    parts = text.split("\n\n")
    assert [part.splitlines()[0] for part in parts[1:4]] == ["tiny_imagenet", "tiny_imagenet_4", "tiny_imagenet_5"]
    assert "    optimizer.lr                 0.1 → 0.001" in parts[1]
    assert parts[3].splitlines()[2:] == [
        "  published: top-1 of the best epoch 72.300 (+17.800)",
        "    model.stem                   imagenet → small_with_bias",
    ]
    assert "loss 0.262" in explained(monkeypatch, capsys, "intel_frozen_v2")


def test_stems_of_an_experiment_have_their_layers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [explained(monkeypatch, capsys, f"tiny_imagenet_{stage}", "--layers", "64") for stage in (4, 5)]
    assert "512 x 2 x 2" in rows[0]
    assert "512 x 8 x 8" in rows[1]
    assert "102,600" in rows[1]  # the classifier of 200 classes


def test_two_recipes_differ_key_by_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = explained(monkeypatch, capsys, "r10_ema", "--against", "+recipe=r08_weight_decay_tuning", "scale=small")
    head, keys = text.split("\n\n")
    assert head.splitlines()[0].startswith("r08_weight_decay_tuning: ")
    assert "published on imagenet: top-1 80.450" in head
    first, *lines = keys.splitlines()
    assert first.startswith("r08_weight_decay_tuning → r10_ema: ")
    changed = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert changed.keys() == {"resolution.train_crop", "ema.decay"}
    assert f": {len(changed)} keys of " in first
    small = changed["resolution.train_crop"].split(" → ")
    assert int(small[1]) < int(small[0]) < 224  # at the scale, not as the files have it
    same = explained(monkeypatch, capsys, "v2", "--against", "r12_repeated_augmentation")
    assert "no key of " in same


def test_against_and_layers_are_two_questions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        explained(monkeypatch, capsys, "v2", "--against", "v1", "--layers", "64")
    assert "ask one of them" in capsys.readouterr().err
