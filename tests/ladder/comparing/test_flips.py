"""The classes and images that one setting wins and loses are those of the runs that were written."""

from pathlib import Path

import numpy as np
import pytest
from synthetic import write_run

from recipe.ladder.comparing import flips
from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.reading.collect import collect


def compared(root: Path) -> list[Comparison]:
    return compare(collect([root]))


def only(root: Path) -> Comparison:
    (comparison,) = compared(root)
    return comparison


def test_classes_and_images_that_changed(tmp_path: Path) -> None:
    """Four classes of 50 images: v2 learns class 1 in two of three seeds, and forgets image 0."""
    label = np.arange(200) % 4
    old = label == 0
    for seed in range(3):
        new = (old | (label == 1)) if seed else old.copy()
        new[0] = False
        write_run(tmp_path, "v1", seed, 25.0, correct=old, images=200)
        write_run(tmp_path, "v2", seed, 50.0, correct=new, images=200)
    comparison = only(tmp_path)
    before, after = comparison.rows
    gains = flips.class_gains(after, before, comparison.classes)
    assert [(gain.name, gain.images) for gain in gains][::3] == [("class 1", 50), ("class 0", 50)]
    assert [round(gain.gain, 6) for gain in gains] == [66.666667, 0, 0, -2]
    assert gains[0].after == pytest.approx(66.666667)
    changed = flips.most_changed(after, before, comparison.classes, most=60)
    assert changed[0] == (0, "class 0", 1.0, 0.0)
    assert changed[1][:3] == (1, "class 1", 0.0)
    assert len(changed) == 51
    assert len(flips.most_changed(after, before, comparison.classes, most=5)) == 5
