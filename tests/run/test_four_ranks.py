"""More than two ranks: floating-point sums depend on their order, which no start of a run may change."""

from pathlib import Path

import pytest
from durable_runs import EACH_STEP, begin, go_on, undisturbed
from processes import assert_same_ending, killed, steps_logged, when


@pytest.mark.slow
def test_killed_run_of_four_ranks_ends_as_the_whole_one(tmp_path: Path) -> None:
    processes = 4
    whole, folder = undisturbed(tmp_path / "whole", processes), tmp_path / "run"
    process = begin(folder, EACH_STEP, processes=processes)
    when(lambda: steps_logged(folder) >= 5, process)
    killed(process)
    assert not (folder / "result.json").exists()
    go_on(folder, processes=processes)
    assert_same_ending(whole, folder)
