"""`recipe evaluate --weights …`: published weights and files without a run, several in one table."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from photos import CLASSES, for_package_weights, save_photos
from PIL import Image
from torchvision.transforms._presets import ImageClassification

from recipe.errors import DataError
from recipe.finished.evaluation.labels import class_numbers, imagenet_synsets

Recipe = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def test_folders_are_known_by_name_in_words_and_by_synset() -> None:
    assert class_numbers(["b", "a"], ["a", "b", "c"], "x") == [1, 0]
    words = list(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    assert class_numbers(["n01440764", "n01496331"], words, "x") == [0, 5]
    assert class_numbers(["great_white_shark", "tench"], words, "x") == [2, 0]
    assert class_numbers(imagenet_synsets(), words, "x") == list(range(1000))
    with pytest.raises(DataError, match=r"none of the 1,000 classes of these weights: größe"):
        class_numbers(["tench", "größe"], words, "x")


def test_package_s_weights_recognise_imagenet_s_photos(recipe: Recipe, tmp_path: Path, capsys: Capture) -> None:
    """In folders named by synset, with the weights' own preprocessing and at another size, chosen on one half."""
    with tarfile.open(for_package_weights("package:efficientnet-lite0")) as photos:
        for member in photos.getmembers()[:40]:
            folder = tmp_path / "val" / Path(member.name).name.split("_")[0]
            folder.mkdir(parents=True, exist_ok=True)
            content = photos.extractfile(member)
            assert content is not None
            (folder / Path(member.name).name).write_bytes(content.read())
    weights = ("--weights", "package:efficientnet-lite0", "--choose", "--report", "--out", tmp_path / "out")
    sizes = ("resolution.val_resize=224,256", "data.workers=0", "--figure", tmp_path / "figure.png")
    assert recipe("evaluate", *weights, "data=imagenet", f"data.root={tmp_path}", *sizes) == 0
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines() if line.startswith("package:efficientnet-lite0 ")]
    assert [row[1:3] for row in rows] == [["224", "224"], ["256", "224"]]
    assert min(float(row[3]) for row in rows) > 75
    assert "On the other half: top-1" in said
    assert len(list((tmp_path / "out").glob("*/classes.csv"))) == 2
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_several_files_are_one_table_with_the_figures_of_each(recipe: Recipe, tmp_path: Path, capsys: Capture) -> None:
    for label, name in enumerate(CLASSES):
        save_photos(tmp_path / "data" / "val" / name, label, 5)
    for seed in range(2):
        torch.manual_seed(seed)
        model = torchvision.models.resnet18(num_classes=3)
        torch.nn.init.zeros_(model.fc.weight)
        torch.nn.init.zeros_(model.fc.bias)
        model.fc.bias.data[seed] = 1  # says always the same class
        torch.save(model.state_dict(), tmp_path / f"{seed}.pth")
    files = f"{tmp_path / '0.pth'},{tmp_path / '1.pth'}"
    data = (f"data.root={tmp_path / 'data'}", "data.workers=0", "resolution.val_resize=32", "resolution.val_crop=32")
    assert recipe("evaluate", "--model", "resnet18", "--weights", files, *data) == 0
    said = capsys.readouterr().out
    assert said.count("val_resize") == 1
    assert [line.split()[1:4] for line in said.splitlines() if ".pth" in line] == [["32", "32", "33.33"]] * 2
    wider = torchvision.models.resnet18(num_classes=4)
    torch.save(wider.state_dict(), tmp_path / "four.pth")
    assert recipe("evaluate", "--model", "resnet18", "--weights", tmp_path / "four.pth", *data) == 2
    assert "are of another number of classes than 3" in capsys.readouterr().err


def test_loss_is_that_of_torchvision_s_own_preprocessing(recipe: Recipe, tmp_path: Path, capsys: Capture) -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=3).eval()
    torch.save(model.state_dict(), tmp_path / "random.pth")
    preprocess = ImageClassification(crop_size=48, resize_size=56)  # with ImageNet's mean and deviation
    losses = []
    for label, name in enumerate(CLASSES):
        save_photos(tmp_path / "val" / name, label, 4)
        for file in (tmp_path / "val" / name).iterdir():
            with Image.open(file) as photo, torch.inference_mode():
                logits = model(preprocess(photo.convert("RGB"))[None])
            losses.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor([label]))))
    sizes = ("resolution.val_resize=56", "resolution.val_crop=48", "data.workers=0")
    weights = ("--model", "resnet18", "--weights", tmp_path / "random.pth")
    assert recipe("evaluate", *weights, f"data.root={tmp_path}", *sizes) == 0
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if "random.pth" in line]
    assert float(row[-1]) == pytest.approx(sum(losses) / len(losses), abs=0.002)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "resnet50", "--weights", "IMAGENET1K_V3", "data.root=ROOT"], "IMAGENET1K_V1, IMAGENET1K_V2"),
        (["--model", "resnet50", "--weights", "IMAGENET1K_V2", "data=imagnet"], "Did you mean imagenet?"),
        (["--model", "resnet50", "--weights", "IMAGENET1K_V2", "split=val"], "which images?"),
        (["--model", "resnet50", "--weights", "IMAGENET1K_V2", "ROOT"], "runs, or --weights"),
        (["--model", "resnet50", "data=imagenet"], "evaluate knows no key data"),
        (["--model", "resnet50", "split=val"], "which weights of it?"),
        (["--weights", "A,B", "--report", "--out", "ROOT/r", "data.root=ROOT"], "of one of the --weights"),
        (["--weights", "A", "--figure", "f.txt", "data.root=ROOT"], "kind of picture"),
        (["--model", "resnet50", "--weights", "IMAGENET1K_V2", "data.root=ROOT"], "none of the 1,000 classes"),
    ],
    ids=str,
)
def test_wrong_use_is_one_message(
    recipe: Recipe, tmp_path: Path, capsys: Capture, arguments: list[str], message: str
) -> None:
    for label, name in enumerate(CLASSES):
        save_photos(tmp_path / "val" / name, label, 1)
    assert recipe("evaluate", *(word.replace("ROOT", str(tmp_path)) for word in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_missing_network_is_one_message_before_anything_is_evaluated(
    recipe: Recipe, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nothing listens
    for name in ("tench", "goldfish"):
        save_photos(tmp_path / "val" / name, 0, 1)
    names = "IMAGENET1K_V1,IMAGENET1K_V2"
    assert recipe("evaluate", "--model", "resnet50", "--weights", names, "data=imagenet", f"data.root={tmp_path}") == 2
    said = capsys.readouterr()
    assert "resnet50-0676ba61.pth is not there" in said.err
    assert "Bring the file there" in said.err
    assert "top-1" not in said.out
