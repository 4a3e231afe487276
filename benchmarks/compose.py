"""How long a sweep takes that has finished before: all jobs composed, checked and found finished, and nothing trained.

`python benchmarks/compose.py --seeds 30` makes the folders of 13 rungs x 30 seeds in a temporary place as finished runs
leave them, and then types the sweep's command. `--of FOLDER` measures another checkout in turn with this one.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from recipe import stored_config
from recipe.plan import compose
from recipe.plan.compose import PROJECT
from recipe.sweep.composing import Composer, let_interpolations_see

RUNGS = "+recipe=glob(r*)"
SETTINGS = ("scale=demo", "data=synthetic")


def write_finished(outputs: Path, seeds: int, earlier: bool) -> int:
    """Make the folders of the sweep's runs. Returns how many.

    Args:
        earlier: as versions wrote them whose result.json did not say where the data was.
    """
    os.environ["RECIPE_OUTPUTS"] = str(outputs)
    with compose._hydra():
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", [RUNGS, *SETTINGS], run_mode=RunMode.MULTIRUN)
        let_interpolations_see(master)
        composer = Composer(loader, master)
        rungs = [name for name in loader.get_group_options("recipe") if name.startswith("r")]
        for rung in rungs:
            for seed in range(seeds):
                plan = composer.plan([f"+recipe={rung}", f"seed={seed}", *SETTINGS], 0)
                plan.folder.mkdir(parents=True)
                (plan.folder / "config.yaml").write_text(stored_config.to_yaml(plan.config))
                result = {"acc1": 50.0, "training_hash": plan.training_hash, "result_hash": plan.result_hash}
                root = {} if earlier else {"data_root": plan.config.data.root}
                (plan.folder / "result.json").write_text(json.dumps({**result, **root}))
    return len(rungs) * seeds


def sweep(checkout: Path, outputs: Path, seeds: int) -> tuple[float, float]:
    """Wall-clock seconds and seconds of a core that the command takes. Raises where it trains anything."""
    command = [sys.executable, str(checkout / "train.py"), "-m", RUNGS, f"seed=range({seeds})", *SETTINGS]
    environment = {**os.environ, "RECIPE_OUTPUTS": str(outputs), "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    before, begin = _core_seconds(), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=outputs, check=True)
    if "started" in done.stdout or "finished before" not in done.stdout:
        raise RuntimeError(done.stdout)
    return time.monotonic() - begin, _core_seconds() - before


def _core_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print a line for each round and checkout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--of", type=Path, help="another checkout, measured in turn with this one")
    parser.add_argument("--earlier", action="store_true", help="runs of a version that wrote no data_root")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        jobs = write_finished(Path(folder), arguments.seeds, arguments.earlier)
        for _ in range(arguments.rounds):
            for checkout in filter(None, (PROJECT, arguments.of)):
                wall, core = sweep(checkout.resolve(), Path(folder), arguments.seeds)
                each = 1000 * core / jobs
                print(
                    f"{checkout}: {jobs} jobs in {core:.2f} s of a core, {wall:.2f} s, {each:.1f} ms a job", flush=True
                )


if __name__ == "__main__":
    main()
