"""The launchers' keys, as Hydra's schema needs them: what `hydra.launcher.…=` on a sweep's command line may set."""

from dataclasses import dataclass, field

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
    until: str | None = None  # resolved: further seeds for the settings whose comparison is open
    max_seeds: int | None = None  # of a setting, then; null: 20
    hours: float | None = None  # of wall-clock time, then; null: as many as it takes
    smallest_gain: float | None = None  # points: what is surely smaller ends as that; null: nothing does
    changed_code: str = "stop"  # where the code is another than when the sweep began; continue: jobs start all the same


@dataclass
class SlurmConf:
    """Keys of hydra/launcher=slurm. What they become: recipe/sweep/slurm/request.py."""

    _target_: str = f"{PLUGIN}.SlurmLauncher"
    nodes: int = 1  # of each job
    per_node: int | None = None  # processes of each node; null: one for each GPU that is asked for, else for each core
    gpus_per_node: str | None = None  # sbatch's --gpus-per-node: 8, a100:8, 0 on CPU nodes; null: per_node, else 8
    gres: str | None = None  # sbatch's --gres in its place, where a cluster wants that: gpu:a100:8
    cpus_per_gpu: int | None = None  # cores for each process; null: the cluster's default
    cpus_per_task: int | None = None  # cores of a node in its place; null: cpus_per_gpu for each process
    mem: str | None = None  # of a node, as in 64G or 0 (all of it); null: the cluster's default
    time: str | None = None  # in Slurm's own form, as in 1-12:00:00; null: timeout_min
    timeout_min: int = 1440  # after which a job saves and goes back into the queue
    warning_seconds: int = 120  # before that limit, in which it saves
    requeues: int = 3  # of a job, at most, from one newly saved step to the next
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None  # nodes, as in node[3,7-9]
    reservation: str | None = None
    mail: str | None = None  # address, for the end and the failure of a sweep's jobs
    sbatch: list[str] = field(default_factory=list)  # further options of sbatch, as in ['--nice=100']
    setup: list[str] = field(default_factory=list)  # lines of bash before each job, as in [module load cuda]
    python: str | None = None  # on the nodes; null: the one that the sweep was started with
    at_once: int = 256  # jobs that run at a time, at most
    wait: bool = False  # until all have ended
    until: str | None = None  # as in TorchrunConf; with wait=true alone
    max_seeds: int | None = None
    hours: float | None = None
    smallest_gain: float | None = None
    changed_code: str = "stop"  # as in TorchrunConf: asked when a job starts, however long it was in the queue
    dry_run: bool = False  # say what would be trained, and how long that takes: nothing is started or written
    rate: float | None = None  # images a second and device, for that; null: of earlier runs in the sweep's folder
    cluster: str = "slurm"  # the only one


LAUNCHERS: dict[str, type] = {"torchrun": TorchrunConf, "slurm": SlurmConf}
