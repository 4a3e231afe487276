"""The launchers and the sweeper by the names that Hydra knows them by. What they do is in recipe/sweep.

Hydra takes them from `hydra_plugins` alone and imports this module at every start, a sweep's or not: so each gets
its namesake only when a sweep needs it.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from recipe.sweep.launcher import RecipeLauncher


class Namesake:
    """What Hydra asks of a launcher, handed on to the class of the same name in `module`."""

    module = "recipe.sweep.launcher"

    def __init__(self, **options: Any) -> None:
        self.dry_run, self.rate = options.pop("dry_run"), options.pop("rate")
        self.until = import_module("recipe.sweep.until").asked(options)
        self.launcher: RecipeLauncher = getattr(import_module(self.module), type(self).__name__)(**options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hand over what Hydra has composed."""
        self.launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs. Returns what each has come to."""
        if self.dry_run:
            from recipe.sweep import dry_run

            return dry_run.launch(self.launcher, job_overrides, initial_job_idx, self.rate)
        if self.until is not None:
            from recipe.sweep import until

            return until.launch(self.launcher, job_overrides, initial_job_idx, self.until)
        return self.launcher.launch(job_overrides, initial_job_idx)


class TorchrunLauncher(Namesake, Launcher):
    """`hydra/launcher=torchrun`, the default."""


class SlurmLauncher(Namesake, Launcher):
    """`hydra/launcher=slurm`."""

    module = "recipe.sweep.slurm.launcher"


class LadderSweeper(BasicSweeper):
    """`hydra/sweeper=basic`, the default, for launchers that compose and check every job themselves, as ours do."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run all jobs. Returns what they have come to."""
        from recipe.sweep.sweeper import sweep

        return sweep(self, arguments)
