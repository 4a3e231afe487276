"""What train.py does; where the package is installed without its checkout, `torchrun -m recipe.train +recipe=v2`."""

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig

from hydra_plugins.recipe_launcher.launcher import LadderSweeper, SlurmLauncher, TorchrunLauncher
from recipe.encoding import any_locale
from recipe.errors import RunError, UserError, check_here, fail, rank_local
from recipe.machine import torchrun
from recipe.machine.signals import STOPPED, Stopped, StopSignal, last_words
from recipe.network.kept_files import LAST
from recipe.output import say, show_what_can_be_shown, tell_what_was_not_shown
from recipe.plan import command_line, compose, source_code
from recipe.plan.hydra_errors import explain
from recipe.plan.rungs import CONF
from recipe.plan.trust import only_the_command_line_sets_hydra

failures: list[UserError] = []  # of the runs of this process


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def run(composed: DictConfig) -> None:
    """One training run. A user's error is kept for `main`; a sweep goes on with its other jobs."""
    os.chdir(
        HydraConfig.get().runtime.cwd
    )  # after hydra.job.chdir=true, too, paths are relative to the command's place
    if HydraConfig.get().mode is RunMode.MULTIRUN:  # with a launcher that runs its jobs in this process
        torchrun.refuse_sweep()
    try:
        plan = compose.plan_of_this_run(composed)
    except UserError as error:  # let through, Hydra would print the whole command line above its message
        failures.append(error)
        return
    try:
        with StopSignal(at_once=True) as stop:
            resumes = plan.config.resume == "auto" and (plan.folder / "checkpoints" / LAST).exists()
            stop.at_start = Stopped.at_start(resumes)
            from recipe.run.run import train  # imports torch: only once the config is known to be right
        train(plan)
    except UserError as error:
        failures.append(error)
    except Stopped as stopped:
        stopped.resumes = plan.config.resume == "auto"
        raise
    except OSError as error:  # without a file: the system has no memory for a worker, no free descriptor …
        where = f"{error.filename}: " if error.filename else ""
        failures.append(rank_local(RunError(f"{where}{error.strerror or error}. What was saved before is whole")))


def register_launchers() -> None:
    """Make the launchers and the sweeper known to Hydra, whose own search does not see editable installations."""
    for plugin in (TorchrunLauncher, SlurmLauncher, LadderSweeper):
        Plugins.instance().register(plugin)


def main() -> None:
    """Run, and turn an error that the user can put right into one message and exit code 2."""
    show_what_can_be_shown()
    any_locale()
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra lets its exceptions through; `explain` words them
    failures.clear()
    try:
        check_here()
        sys.argv[1:] = source_code.checked(sys.argv[1:])
        sweep = command_line.is_sweep(sys.argv)
        torchrun.forget() if sweep else torchrun.check_environment()
        sys.argv[1:] = command_line.for_hydra(sys.argv[1:])
        register_launchers()
        compose.register()  # behind Hydra's look for plugins, in which its own sweeper takes that name
        only_the_command_line_sets_hydra()
        if sweep and not {"--cfg", "-c", "--info", "-i"} & set(sys.argv):
            torchrun.refuse_sweep()
            say("Composing and checking all jobs …")
        run()
        if failures:
            raise failures[0] if len(failures) == 1 else UserError("; ".join(map(str, failures)))
    except Stopped as stopped:
        if os.environ.get("RANK", "0") == "0":
            print(stopped, file=sys.stderr, flush=True)
        sys.exit(STOPPED)
    except KeyboardInterrupt as interrupt:
        fail(" ".join(["stopped by hand.", *getattr(interrupt, "__notes__", [])]), on_every_rank=True, code=130)
    except Exception as error:
        message = explain(error)
        if message is None or full_error:
            raise
        fail(message, on_every_rank=getattr(error, "on_every_rank", True), code=getattr(error, "code", 2))
    finally:
        if not full_error:
            del os.environ["HYDRA_FULL_ERROR"]
        tell_what_was_not_shown()
        last_words()


if __name__ == "__main__":
    main()
