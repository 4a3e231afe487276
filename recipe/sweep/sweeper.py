"""From the values of a command line to the jobs of a sweep, each combination once, and on to the launcher.

As Hydra's basic sweeper, but that composes every job by itself before the launcher does; and a dry run writes nothing.
"""

from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf


def sweep(sweeper: BasicSweeper, arguments: list[str]) -> list[Any]:
    """What all jobs have come to, in batches of hydra.sweeper.max_batch_size. Raises what the launcher raises."""
    assert sweeper.config is not None  # it was set up
    assert sweeper.launcher is not None
    assert sweeper.hydra_context is not None
    hydra = sweeper.config.hydra
    parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
    overrides = parser.parse_overrides([*sweeper._parse_config(), *arguments])
    batches = sweeper.split_arguments(overrides, sweeper.max_batch_size)
    if not hydra.launcher.get("dry_run"):
        folder = Path(hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(sweeper.config, folder / "multirun.yaml")
    returned: list[Any] = []
    for batch in batches:
        returned.append(sweeper.launcher.launch(batch, initial_job_idx=sum(map(len, batches[: len(returned)]))))
        for job in returned[-1]:
            _ = job.return_value  # raises what a job has raised
    return returned
