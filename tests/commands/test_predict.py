"""`recipe predict` says of photos what the evaluation would, names those it cannot read, and spoils none."""

import csv
import json
import os
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from photos import for_package_weights
from PIL import Image, ImageChops

from recipe.files import unpack
from recipe.finished import prediction
from recipe.machine import distributed
from recipe.run import trained

Recipe = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def val_files(run: Path) -> list[str]:
    return sorted(map(str, (run.parent / "data" / "val").rglob("*.jpg")))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_logits_are_those_of_the_evaluation_bit_for_bit(photo_run: Path) -> None:
    """The same batches: then the photos are decoded, turned, resized and normalised as in the run's evaluation."""
    run = trained.read(photo_run)
    config = trained.evaluation_config(run)
    config.data.on_corrupt = "skip"
    ranks = distributed.start(config.runtime)
    model = trained.network(run, ranks.device, run.result["weights"])
    photos = prediction.Photos(val_files(photo_run), run.environment["classes"], config.data.exif_orientation)
    logits = torch.stack([row for _, row in prediction.predict(model, photos, config, ranks)])
    kept = np.load(photo_run / "predictions.npz")["logits"]
    assert np.array_equal(logits.half().numpy(), kept)
    assert len(torch.unique(logits, dim=0)) == len(kept)  # no two photos alike: it would show


def test_table_holds_the_classes_and_their_probabilities(photo_run: Path, recipe: Recipe, tmp_path: Path) -> None:
    table = tmp_path / "deep" / "table.csv"
    assert recipe("predict", photo_run, "--top", 2, photo_run.parent / "data" / "val", "--csv", table) == 0
    rows = rows_of(table)
    classes = json.loads((photo_run / "environment.json").read_text())["classes"]
    probabilities = torch.from_numpy(np.load(photo_run / "predictions.npz")["logits"]).double().softmax(1)
    for number, file in enumerate(val_files(photo_run)):
        own = [row for row in rows if row["file"] == file]
        assert [row["rank"] for row in own] == ["1", "2"]
        for row in own:
            expected = probabilities[number, classes.index(row["class"])].item()
            assert float(row["probability"]) == pytest.approx(expected, abs=2e-3)
        assert float(own[0]["probability"]) >= float(own[1]["probability"])
        assert own[0]["class"] == classes[int(probabilities[number].argmax())]


def test_other_weights_and_batches_are_those_asked_for(photo_run: Path, recipe: Recipe, tmp_path: Path) -> None:
    def probabilities(*options: object) -> list[float]:
        assert recipe("predict", photo_run, *val_files(photo_run), "--csv", tmp_path / "t.csv", *options) == 0
        return [float(row["probability"]) for row in rows_of(tmp_path / "t.csv")]

    ema = probabilities()
    assert probabilities("--weights", "ema") == ema
    assert probabilities("--batch-size", 1) == pytest.approx(ema, abs=1e-4)
    assert probabilities("--weights", "raw") != pytest.approx(ema, abs=1e-4)


def test_unreadable_files_are_named_and_the_rest_is_predicted(
    photo_run: Path, recipe: Recipe, tmp_path: Path, capsys: Capture
) -> None:
    first, second, *_ = val_files(photo_run)
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "half.jpg").write_bytes(Path(first).read_bytes()[:700])
    (tmp_path / "empty").mkdir()
    given = [first, tmp_path / "text.jpg", tmp_path / "half.jpg", tmp_path / "gone.jpg", tmp_path / "empty", second]
    assert recipe("predict", photo_run, *given, "--csv", tmp_path / "t.csv", "--top", 1) == 2
    assert [row["file"] for row in rows_of(tmp_path / "t.csv")] == [first, second]
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 5
    for name in ("text.jpg", "half.jpg", "gone.jpg", "empty"):
        assert sum(str(tmp_path / name) in line for line in errors) == 1
    assert errors[-1] == "Error: 4 of 6 could not be predicted: they are named above"
    assert not any("0x" in line or ".cpp" in line for line in errors)


def test_strips_and_odd_folders_are_predicted_and_annotated(
    photo_run: Path, recipe: Recipe, tmp_path: Path, capsys: Capture
) -> None:
    """A PNG of 20,000 x 1 pixels has a few bytes, and would have 4 GB at 256 px."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("wide.png", (20_000, 1)), ("tall.png", (1, 20_000))):
        Image.new("RGB", size, "teal").save(folder / name)
    Image.fromarray(np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)).save(folder / "deep.tif")
    (folder / "notes.txt").write_text("of the photographer")
    (folder / "again").symlink_to(folder)
    os.mkfifo(folder / "pipe.jpg")
    table, annotated = tmp_path / "t.csv", tmp_path / "annotated"
    assert recipe("predict", photo_run, folder, "--csv", table, "--top", 1, "--annotate", annotated) == 0
    files = [str(folder / name) for name in ("deep.tif", "tall.png", "wide.png")]
    assert [row["file"] for row in rows_of(table)] == files
    assert len(list(annotated.iterdir())) == 3
    errors = capsys.readouterr().err.splitlines()
    assert errors[:3] == [
        "left out, no image by its name: notes.txt",
        f"(1 file in {folder}: 1 .txt)",
        f"left out, neither file nor folder: again (the same folder as .) … (2 in {folder})",
    ]
    assert f"the range of their values was guessed: {files[0]} (taken as 0 to 1)" in errors[3]
    assert recipe("predict", photo_run, folder / "pipe.jpg") == 2
    assert "it is no file but a named pipe" in capsys.readouterr().err


def test_folders_are_searched_in_name_order_and_patterns_expanded(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "sub/c.jpeg", "sub/.hidden.jpg", "sub/notes.txt", ".dir/d.jpg", "z/y/x.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    os.symlink(tmp_path, tmp_path / "sub" / "loop")
    found, nothing = prediction.find_photos([str(tmp_path)])
    assert [os.path.relpath(file, tmp_path) for file in found] == ["a.PNG", "b.jpg", "sub/c.jpeg", "z/y/x.webp"]
    again, _ = prediction.find_photos([str(tmp_path / "*.jpg"), str(tmp_path), str(tmp_path / "sub" / "notes.txt")])
    assert [os.path.basename(file) for file in again] == ["b.jpg", "a.PNG", "c.jpeg", "x.webp", "notes.txt"]
    assert nothing == []


def test_annotated_photos_are_upright_and_never_take_anothers_place(
    photo_run: Path, recipe: Recipe, tmp_path: Path
) -> None:
    shutil.copytree(photo_run.parent / "data" / "val", tmp_path / "photos")
    before = {path: path.read_bytes() for path in (tmp_path / "photos").rglob("*.jpg")}
    assert len({path.name for path in before}) < len(before)
    for folder in (tmp_path / "annotated", tmp_path / "photos" / "dark"):
        assert recipe("predict", photo_run, tmp_path / "photos", "--annotate", folder) == 0
        assert len(list(folder.glob("*.predicted*.jpg"))) == len(before)
    assert {path: path.read_bytes() for path in before} == before
    with Image.open(tmp_path / "annotated" / "0.predicted.jpg") as turned:
        assert turned.height > 60  # the file holds 60 x 40, and says that it is to be turned; the line is below it
        assert np.asarray(turned.crop((0, 0, 40, 60))).mean() > 40
        assert turned.width == 40 or np.asarray(turned.crop((44, 0, turned.width, 60))).max() < 40  # of a JPEG


def test_annotated_copies_are_no_photos_the_next_time(
    photo_run: Path, recipe: Recipe, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(photo_run.parent / "data" / "val" / "dark", tmp_path / "photos")
    command = "predict", photo_run, tmp_path / "photos", "--annotate", tmp_path / "photos", "--csv", tmp_path / "c.csv"
    written = []
    for _ in range(2):
        assert recipe(*command) == 0
        written.append((sorted(path.name for path in (tmp_path / "photos").iterdir()), rows_of(tmp_path / "c.csv")))
    assert written[0] == written[1]
    said = capsys.readouterr().err
    assert said.count("not predicted, copies that --annotate made: 0.predicted.jpg … (7 in ") == 1
    assert recipe("predict", photo_run, tmp_path / "photos" / "0.predicted.jpg") == 0, "named by itself it is a photo"


def test_bomb_is_told_with_its_name_and_what_to_do(
    photo_run: Path, recipe: Recipe, tmp_path: Path, capsys: Capture
) -> None:
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"")]
    parts = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    (tmp_path / "bomb.png").write_bytes(png)
    assert recipe("predict", photo_run, tmp_path / "bomb.png") == 2
    error = capsys.readouterr().err
    assert f"cannot read the image {tmp_path / 'bomb.png'}: 3,600,000,000 pixels, more than any photo has" in error
    assert "A smaller copy can be read" in error
    assert "DOS" not in error, "these are Pillow's words"


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_label_stands_out_on_any_photo(grey: int, tmp_path: Path) -> None:
    from recipe.finished.annotation import annotate

    Image.new("RGB", (400, 300), (grey, grey, grey)).save(tmp_path / "photo.png")
    annotate(str(tmp_path / "photo.png"), [("Granny-Smith", "93.1%")], tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as picture:
        label = picture.crop((0, 300 - 18, 60, 300)).convert("L")
        assert picture.crop((0, 0, 400, 200)).getcolors() == [(400 * 200, (grey, grey, grey))]
    darkest, lightest = int(np.asarray(label).min()), int(np.asarray(label).max())
    assert (lightest + 5) / (darkest + 5) > 2.5
    assert lightest > 230
    assert np.mean(np.asarray(label) < 110) > 0.5


@pytest.mark.parametrize("size", [(400, 300), (100, 100), (60, 40), (32, 32), (100, 12), (3, 200)], ids=str)
def test_probability_is_never_cut_off(size: tuple[int, int], tmp_path: Path) -> None:
    """A photo with two long names and their figures: each figure's pixels are those of the figure alone."""
    from recipe.finished.annotation import annotate

    Image.new("RGB", size, "white").save(tmp_path / "photo.png")
    name = "a very long name of a class that has no end"

    def drawn(*figures: str) -> Image.Image:
        annotate(str(tmp_path / "photo.png"), [(name, figure) for figure in figures], tmp_path / "out.png")
        with Image.open(tmp_path / "out.png") as picture:
            return picture.copy()

    pictures = [drawn("11.1%", "88.8%"), drawn("11.4%", "88.8%"), drawn("11.1%", "88.0%")]
    assert len({picture.size for picture in pictures}) == 1
    first, second = (ImageChops.difference(pictures[0], other).getbbox() for other in pictures[1:])
    assert first is not None  # the last digit of each figure is there to be seen
    assert second is not None
    assert first[3] <= second[1]  # on a line of its own
    if min(size) >= 100:
        assert pictures[0].size == size
    else:  # the photo stays whole, above its lines
        assert pictures[0].crop((0, 0, *size)).getcolors() == [(size[0] * size[1], (255, 255, 255))] or size == (60, 40)


def test_as_many_classes_are_drawn_as_are_asked_for(photo_run: Path, recipe: Recipe, tmp_path: Path) -> None:
    Image.new("RGB", (300, 300), "white").save(tmp_path / "photo.png")
    heights = []
    for top in ((), ("--top", 1), ("--top", 2), ("--top", 3)):
        assert recipe("predict", photo_run, tmp_path / "photo.png", "--annotate", tmp_path / "out", *top) == 0
        with Image.open(tmp_path / "out" / "photo.predicted.png") as picture:
            label = ImageChops.difference(picture, Image.new("RGB", (300, 300), "white")).getbbox()
            assert label is not None
            heights.append(label[3] - label[1])
    assert heights[0] == heights[1]
    assert heights[3] - heights[2] == heights[2] - heights[1] > 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere", "a.jpg"], "there is no folder /nowhere"),
        (["/", "a.jpg"], "/ is not the folder of a run"),
        (["RUN"], "which photos?"),
        (["RUN", "a.jpg", "--weights", "emma"], "has ema, raw, best. Did you mean ema?"),
        (["RUN", "/nowhere/*.jpg"], "there is nothing to predict"),
        (["RUN", "a.jpg", "--top", "0"], "must be a whole number from 1"),
        (["RUN", "--topp", "a.jpg"], "unrecognized arguments: --topp"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(
    photo_run: Path, recipe: Recipe, arguments: list[str], message: str, capsys: Capture
) -> None:
    assert recipe("predict", *(str(photo_run) if word == "RUN" else word for word in arguments)) == 2
    assert message in capsys.readouterr().err


def test_unfinished_run_is_refused(recipe: Recipe, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "environment.json").write_text("{}")
    assert recipe("predict", tmp_path, "a.jpg") == 2
    assert "has not finished" in capsys.readouterr().err


def test_published_weights_need_no_run(recipe: Recipe, tmp_path: Path) -> None:
    """They bring the sizes and colours of their images and the names of their classes."""
    with tarfile.open(for_package_weights("package:efficientnet-lite0")) as photos:
        members = [member for member in photos.getmembers() if member.isfile()][:20]
        unpack(photos, tmp_path / "photos", members)
    options = "--weights", "package:efficientnet-lite0", "--csv", tmp_path / "t.csv", "--top", 1
    assert recipe("predict", tmp_path / "photos", *options) == 0
    rows = rows_of(tmp_path / "t.csv")
    said = [row["class"].replace(" ", "_") in row["file"] for row in rows]
    assert len(said) == 20
    assert sum(said) >= 14  # files are named by their class, n01440764_tench.JPEG; some in other words


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "resnet5", "--weights", "DEFAULT"), "Did you mean resnet50?"),
        (("--model", "resnet50", "--weights", "IMAGENET1K_V3"), "IMAGENET1K_V1, IMAGENET1K_V2"),
        (("--weights", "package:efficientnet-lite9"), "Did you mean efficientnet-lite0?"),
    ],
)
def test_wrong_published_weights_have_one_clear_message(
    recipe: Recipe, capsys: Capture, options: tuple[str, ...], message: str
) -> None:
    assert recipe("predict", *options, "photo.jpg") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
