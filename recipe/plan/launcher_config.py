"""The launchers' keys, as Hydra's schema needs them: what `hydra.launcher.…=` on a sweep's command line may set."""

from dataclasses import dataclass

PLUGIN = "hydra_plugins.recipe_launcher.launcher"  # Hydra takes launchers from hydra_plugins alone
SWEEPER = f"{PLUGIN}.LadderSweeper"


@dataclass
class TorchrunConf:
    """Keys of hydra/launcher=torchrun."""

    _target_: str = f"{PLUGIN}.TorchrunLauncher"
    devices: list[int] | None = None  # numbers of the GPUs to use; null: all
    per_job: int = 1  # processes of each job, one a GPU
    jobs: int | None = None  # at a time; null: as many as the GPUs allow, or on CPUs the cores
    dry_run: bool = False  # say what would be trained, and how long that takes: nothing is started or written
    rate: float | None = None  # images a second and device, for that; null: of earlier runs in the sweep's folder
    promote: list[float] | None = None  # shares of the epochs: after each, settings that hurt are left out of the next
    changed_code: str = "stop"  # where the code is another than when the sweep began; continue: jobs start all the same


@dataclass
class SlurmConf:
    """Keys of hydra/launcher=slurm."""

    _target_: str = f"{PLUGIN}.SlurmLauncher"
    nodes: int = 1  # of each job
    per_node: int = 8  # GPUs, and so processes, of each node
    cpus_per_gpu: int | None = None  # null: the cluster's default
    timeout_min: int = 1440  # after which a job saves and goes back into the queue
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    at_once: int = 256  # jobs that run at a time, at most
    wait: bool = False  # until all have ended
    changed_code: str = "stop"  # as in TorchrunConf: asked when a job starts, however long it was in the queue
    dry_run: bool = False  # say what would be trained, and how long that takes: nothing is started or written
    rate: float | None = None  # images a second and device, for that; null: of earlier runs in the sweep's folder
    cluster: str = "slurm"  # local: on this machine, to try it


LAUNCHERS: dict[str, type] = {"torchrun": TorchrunConf, "slurm": SlurmConf}
