"""A rank that has left the group of processes has none of its threads left, which could crash the interpreter's end."""

import sys
from pathlib import Path

import pytest
from conftest import torchrun, watch_over

from recipe import train
from recipe.machine import distributed

THREADS = Path("/proc/self/task")
RUN = (  # noqa: SIM905
    "+recipe=v1 scale=demo scale.resolution=0.0715 data=synthetic data.size=32 data.workers=0 batch_size=32 "
    "micro_batch_size=16 epochs=1 schedule.warmup_epochs=0 model.name=shufflenet_v2_x0_5 log.images=false"
).split()


@pytest.mark.skipif(not THREADS.is_dir(), reason="threads are listed on Linux alone")
def test_no_thread_of_the_group_outlives_a_run(tmp_path: Path) -> None:
    torchrun(2, Path(__file__), tmp_path)
    assert [(tmp_path / f"threads{rank}").read_text() for rank in range(2)] == ["True False"] * 2


def of_gloo() -> bool:
    return any("gloo" in (thread / "comm").read_text() for thread in THREADS.iterdir())


def main(folder: Path) -> None:
    """Train as train.py does, and write whether there are threads before and after the group is left."""
    stop = distributed.stop

    def noted() -> None:
        before, rank = of_gloo(), distributed.dist.get_rank()
        stop()
        (folder / f"threads{rank}").write_text(f"{before} {of_gloo()}")

    distributed.stop = noted
    sys.argv[1:] = [*RUN, f"hydra.run.dir={folder / 'run'}"]
    train.main()


if __name__ == "__main__":
    watch_over()
    main(Path(sys.argv[1]))
