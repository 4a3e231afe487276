"""What `recipe data verify` says of class folders."""

import unicodedata

from recipe.data.class_folders import look_at_classes


def problems(*images: str, empty: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    folders = {""}
    for name in (*images, *(f"{folder}/" for folder in empty)):
        parts = name.split("/")[:-1]
        folders |= {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    wrong, alike = look_at_classes(sorted(folders), images)
    return wrong, alike


def test_nothing_is_wrong_with_whole_data_sets() -> None:
    assert problems("train/a/1.jpg", "train/b/deep/1.jpg", "val/a/1.jpg", "val/b/1.jpg") == ([], [])
    assert problems("a/1.jpg", "b/deep/er/1.jpg") == ([], [])
    assert problems("1.jpg", "2.jpg") == ([], [])
    assert problems("train/a/1.jpg", "train/b/1.jpg", "predict/1.jpg") == ([], [])


def test_folders_that_systems_make_are_no_classes() -> None:
    """Training leaves them out."""
    for made in ("train/__MACOSX", "train/@eaDir", "train/lost+found"):
        assert problems("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg", empty=(made,)) == ([], [])
    assert problems("a/1.jpg", "b/1.jpg", "@eaDir/1.jpg", empty=("__MACOSX",)) == ([], [])


def test_empty_classes_are_named_in_each_part() -> None:
    said, _ = problems("train/a/1.jpg", "val/a/1.jpg", "val/b/1.jpg", empty=("train/b",))
    assert said == ["empty class: train/b has no images"]
    assert problems("a/1.jpg", empty=("b", "b/deep"))[0] == ["empty class: b has no images"]


def test_classes_that_one_part_lacks_are_named() -> None:
    said, _ = problems("train/a/1.jpg", "train/b/1.jpg", "valid/a/1.jpg", "test/a/1.jpg", "test/c/1.jpg")
    assert said == [
        "missing class: valid has no b, which train has",
        "missing class: test has no b, which train has",
        "missing class: train has no c, which test has",
    ]


def test_classes_that_look_alike_are_named() -> None:
    sea, accents = unicodedata.normalize("NFC", "mer-é"), unicodedata.normalize("NFD", "mer-é")
    _, alike = problems("train/Sea/1.jpg", "train/sea/1.jpg", "train/b/1.jpg")
    assert alike == ["alike: train/Sea and train/sea differ only in case or blanks"]
    _, alike = problems(f"{sea}/1.jpg", f"{accents}/1.jpg")
    assert len(alike) == 1
    assert alike[0].endswith("differ only in how their accents are stored (NFC and NFD)")
    wrong, _ = problems("train/Sea/1.jpg", "train/b/1.jpg", "val/sea/1.jpg", "val/b/1.jpg")
    assert wrong == [
        "missing class: val has no Sea, which train has (Sea and sea differ only in case or blanks)",
        "missing class: train has no sea, which val has (sea and Sea differ only in case or blanks)",
    ]
