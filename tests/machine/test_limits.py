"""A container's limits, in file systems of control groups made for it, as Docker, Kubernetes and Slurm leave them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from recipe.data.loader import default_workers
from recipe.errors import ConfigError
from recipe.logs import estimate
from recipe.machine import limits
from recipe.plan.compose import PROJECT, Plan
from recipe.sweep import machine

GIB = 2**30
MACHINE = 256 * GIB
V1 = ["cpu,cpuacct", "memory", "cpuset"]


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 cores and 256 GiB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": MACHINE // 4096}.__getitem__)
    monkeypatch.delenv("RECIPE_CORES", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where control groups are looked for."""
    monkeypatch.setattr(limits, "ROOT", tmp_path)
    return tmp_path


def version_2(root: Path, path: str, mounted: str = "/", at: str = "sys/fs/cgroup", **files: str) -> None:
    """A process in the group `path`, of which the folder shows `mounted`. Files by name, with __ for a dot."""
    folder = root / at / Path(path).relative_to(mounted)
    write(root, f"0::{path}\n", f"31 23 0:28 {mounted} /{at} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n")
    fill(folder, files)


def version_1(root: Path, path: str, mounted: str = "/", **files: str) -> None:
    """The same in three hierarchies."""
    mounts = "".join(
        f"3{n} 31 0:2{n} {mounted} /sys/fs/cgroup/{c} rw - cgroup cgroup rw,{c}\n" for n, c in enumerate(V1)
    )
    write(root, "".join(f"{n}:{c}:{path}\n" for n, c in enumerate(V1, 1)) + "0::/\n", mounts)
    for controllers in V1:
        own = {name: text for name, text in files.items() if name.split("_")[0] == controllers.split(",")[0]}
        fill(root / "sys/fs/cgroup" / controllers / Path(path).relative_to(mounted), own)


def write(root: Path, cgroup: str, mountinfo: str) -> None:
    fill(root / "proc/self", {"cgroup": cgroup, "mountinfo": "22 27 0:21 / /proc rw - proc proc rw\n" + mountinfo})


def fill(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize(("quota", "expected"), [("200000", 2), ("150000", 1), ("50000", 1), ("max", 64)])
def test_docker_with_version_2(groups: Path, quota: str, expected: int) -> None:
    """The container sees its own group as the root of all."""
    version_2(groups, "/", cpu__max=f"{quota} 100000\n", memory__max=f"{8 * GIB}\n", memory__high="max\n")
    assert limits.cores() == expected
    assert limits.memory() == 8 * GIB


@pytest.mark.usefixtures("many_cores")
def test_docker_with_version_1(groups: Path) -> None:
    """The path is the machine's, the mount shows the container's group alone."""
    files = {"cpu__cfs_quota_us": "200000", "cpu__cfs_period_us": "100000", "memory__limit_in_bytes": str(8 * GIB)}
    version_1(groups, "/docker/0f3c", mounted="/docker/0f3c", **files)
    assert limits.cores() == 2
    assert limits.memory() == 8 * GIB


@pytest.mark.usefixtures("many_cores")
def test_version_1_without_limits(groups: Path) -> None:
    files = {"cpu__cfs_quota_us": "-1", "cpu__cfs_period_us": "100000", "memory__limit_in_bytes": "9223372036854771712"}
    version_1(groups, "/user.slice", **files)
    assert limits.cores() == 64
    assert limits.memory() == MACHINE


@pytest.mark.usefixtures("many_cores")
def test_the_tightest_of_all_groups_above_counts(groups: Path) -> None:
    """As Slurm and systemd nest them: the job's group has a limit, the step's inside it none, or a wider one."""
    version_2(groups, "/slurm/job_7/step_0", cpu__max="max 100000", memory__max="max", memory__high=f"{3 * GIB}")
    fill(groups / "sys/fs/cgroup/slurm/job_7", {"cpu.max": "300000 100000", "memory.max": f"{4 * GIB}"})
    fill(groups / "sys/fs/cgroup/slurm", {"cpu.max": "800000 100000", "memory.max": f"{16 * GIB}"})
    assert limits.cores() == 3
    assert limits.memory() == 3 * GIB


@pytest.mark.usefixtures("many_cores")
def test_folder_with_a_space_and_a_group_outside_of_what_is_shown(groups: Path) -> None:
    folder = groups / "my cgroups"
    write(groups, "0::/elsewhere\n", r"31 23 0:28 /here /my\040cgroups rw - cgroup2 cgroup2 rw" + "\n")
    fill(folder, {"cpu.max": "400000 100000"})
    assert limits.cores() == 4


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize(
    "files", [{}, {"cpu__max": ""}, {"cpu__max": "nonsense"}, {"cpu__max": "0 0", "memory__max": "0"}]
)
def test_what_cannot_be_read_is_no_limit(groups: Path, files: dict[str, str]) -> None:
    version_2(groups, "/", **files)
    assert limits.cores() == 64
    assert limits.memory() == MACHINE


def test_system_without_control_groups(groups: Path) -> None:
    assert limits.cores() == len(os.sched_getaffinity(0))
    assert limits.memory() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.usefixtures("many_cores")
def test_workers_and_jobs_fit_into_the_container(groups: Path) -> None:
    """docker run --cpus=4 --memory=5g on 64 cores."""
    version_2(groups, "/", cpu__max="400000 100000", memory__max=str(5 * GIB))
    assert default_workers(1) == 3
    assert default_workers(2) == 1
    given = machine.shares(1, None, None, 100, [])
    assert len(given) == 3  # of 1.5 GiB
    assert given[0].environment(1) == {"OMP_NUM_THREADS": "1", "RECIPE_CORES": "1"}
    assert machine.describe(given, 1) == "3 jobs side by side, each with 1 CPU core and 1 process"
    (whole,) = machine.shares(2, None, 1, 100, [])
    assert whole.environment(2) == {"OMP_NUM_THREADS": "2", "RECIPE_CORES": "4"}
    assert whole.cores == frozenset(range(64))  # where the container's four are is the system's business
    assert len(machine.shares(1, None, None, 100, [f"{number}" for number in range(8)])) == 3  # GPUs need memory too


@pytest.mark.usefixtures("many_cores")
def test_little_memory_means_few_workers(groups: Path) -> None:
    version_2(groups, "/", cpu__max="max 100000", memory__max=str(8 * GIB))
    assert default_workers(1) == 8
    assert default_workers(4) == 2
    assert limits.workers() == 8
    version_2(groups, "/", memory__max=str(GIB // 2))
    assert default_workers(4) == 1
    assert len(machine.shares(1, None, None, 100, [])) == 1


@pytest.mark.usefixtures("many_cores")
def test_memory_is_told_of_what_there_is_for_the_container(groups: Path) -> None:
    version_2(groups, "/", memory__max=str(8 * GIB))
    assert estimate.peak_memory(torch.device("cpu")).endswith(" of 8 GiB for each rank, without its workers")


def test_a_job_of_a_sweep_counts_the_cores_that_it_was_given(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECIPE_CORES", "1")
    assert limits.cores() == 1
    monkeypatch.setenv("RECIPE_CORES", "10000")
    assert limits.cores() <= len(os.sched_getaffinity(0))
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("RECIPE_CORES", wrong)
        with pytest.raises(ConfigError, match=f"RECIPE_CORES={wrong} in the environment: must be a number of cores"):
            plan("+recipe=v2", f"optimizer.lr=0.{1 + len(wrong)}")  # which no other test has composed


@pytest.mark.parametrize(("quota", "threads"), [("100000 100000", 1), ("max 100000", None)])
def test_pytorch_starts_no_more_threads_than_there_are_cores(tmp_path: Path, quota: str, threads: int | None) -> None:
    """Threads that share a core's quota wait for each other most of the time."""
    version_2(tmp_path, "/", cpu__max=quota)
    script = (
        "import sys; from pathlib import Path; from recipe.machine import distributed, limits; import torch\n"
        "from recipe.config import RuntimeConfig\n"
        "limits.ROOT = Path(sys.argv[1]); torch.set_num_threads(2)\n"
        "distributed.start(RuntimeConfig(device='cpu')); print(torch.get_num_threads())"
    )
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "RECIPE_CORES")}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=PROJECT, env=clean, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert int(done.stdout) == (threads or min(2, len(os.sched_getaffinity(0))))


def test_auto_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIPE_DEVICE", "cpu")
    assert limits.device("auto") == "cpu"
    assert limits.device("cuda") == "cuda"
    monkeypatch.delenv("RECIPE_DEVICE")
    assert limits.device("auto") == "auto"
    monkeypatch.setenv("RECIPE_DEVICE", "gpu")
    with pytest.raises(ConfigError, match="RECIPE_DEVICE=gpu in the environment: must be one of auto, cuda, mps, cpu"):
        limits.device("cuda")


@pytest.mark.parametrize(("limit", "left"), [("10", 6), ("max", 20)])
def test_free_memory_is_the_group_s_with_its_copies_of_files(groups: Path, limit: str, left: int) -> None:
    """20 GiB of the machine are free; of its limit the group holds 7, 3 of them copies of files."""
    most = limit if limit == "max" else str(int(limit) * GIB)
    about = f"anon {4 * GIB}\ninactive_file {2 * GIB}\nactive_file {GIB}\n"
    files = {"memory__max": most, "memory__current": str(7 * GIB), "memory__stat": about}
    version_2(groups, "/job", **files)
    (groups / "proc/meminfo").write_text(f"MemTotal: {64 * 2**20} kB\nMemAvailable:   {20 * 2**20} kB\n")
    assert limits.free_memory() == left * GIB
