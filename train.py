"""The one entry point: `torchrun --nproc_per_node=2 train.py +recipe=v2 scale=demo`."""

import os
import sys
import time
from typing import NoReturn

import hydra
from omegaconf import DictConfig

from recipe import compose
from recipe.errors import ConfigError
from recipe.hydra_errors import explain


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def run(composed: DictConfig) -> None:
    """One training run."""
    plan = compose.plan(composed)
    from recipe.run import train  # imports torch: only once the config is known to be right

    train(plan)


def main() -> None:
    """Run, and turn an error that the user can put right into one message and exit code 2."""
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra lets its exceptions through; `explain` words them
    compose.register()
    try:
        _refuse_multirun_under_torchrun()
        run()
    except KeyboardInterrupt:
        _fail("stopped by hand. The same command goes on from the last checkpoint", on_every_rank=True, code=130)
    except Exception as error:
        message = explain(error)
        if message is None or full_error:
            raise
        _fail(message, on_every_rank=not getattr(error, "rank_local", False))


def _refuse_multirun_under_torchrun() -> None:
    if "WORLD_SIZE" in os.environ and {"-m", "--multirun"} & set(sys.argv):
        raise ConfigError("a sweep starts its own processes: python train.py -m … instead of torchrun train.py -m …")


def _fail(message: str, on_every_rank: bool, code: int = 2) -> NoReturn:
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0 or not on_every_rank:
        where = f" (rank {rank})" if rank else ""
        print(f"Error{where}: {message}", file=sys.stderr, flush=True)
    else:
        time.sleep(10)  # torchrun ends all ranks when one exits: leave rank 0 the time to say why
    sys.exit(code)


if __name__ == "__main__":
    main()
