"""The command line of a sweep's job."""

import pytest
from torch.distributed import run

from recipe.sweep import processes


def test_torchrun_waits_for_what_a_job_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed torchrun takes the option; where the environment says how long, that counts."""
    for name in processes.OF_THE_USER:
        monkeypatch.delenv(name, raising=False)
    has_it = "--shutdown-timeout" in run.get_args_parser().format_help()
    line = processes.command(2, ["+recipe=v2"])
    assert (f"--shutdown-timeout={processes.SECONDS_TO_SAVE}" in line) == has_it
    options = run.parse_args(line[3:])
    assert getattr(options, "shutdown_timeout", 600) == processes.SECONDS_TO_SAVE
    assert options.training_script_args[-1] == "+recipe=v2"
    assert "torch.distributed.run" not in processes.command(1, [])
    for name in processes.OF_THE_USER:
        with monkeypatch.context() as given:
            given.setenv(name, "45")
            assert not any("shutdown" in word for word in processes.command(2, []))
