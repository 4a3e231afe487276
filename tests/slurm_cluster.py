"""A real Slurm of two nodes on this machine: controller, two node daemons and munge, of the distribution's packages.

One serves all test processes (its ports are fixed), and each test has it for itself. Nothing of it lies in /etc: keys,
sockets and logs are in a folder of the temporary one. The last test process to leave stops it.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
NODES = ("node1", "node2")
FOLDER = Path(tempfile.gettempdir()) / f"recipe-ladder-slurm-{os.getuid()}"
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/%n.log
SlurmctldPort=36817
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdTimeout=10
KillWait=30
MaxArraySize=4
GresTypes=gpu
MpiDefault=none
SchedulerParameters=bf_interval=2,sched_interval=2
SlurmdParameters=config_overrides
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port=36818 CPUs=2 RealMemory=8000 Gres=gpu:1
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port=36819 CPUs=2 RealMemory=8000 Gres=gpu:1
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=abrupt Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
GPUS = "NodeName=node1 Name=gpu File=/dev/zero\nNodeName=node2 Name=gpu File=/dev/null\n"  # pretended ones


def reason_to_skip() -> str | None:
    """Why there can be no Slurm here."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"needs Slurm (no {', '.join(missing)} here): apt-get install slurmctld slurmd slurm-client munge"
    return None if os.getuid() == 0 else "starting Slurm's daemons needs root"


@contextmanager
def running() -> Iterator[None]:
    """Slurm for this process, with SLURM_CONF set; started by the first that asks, stopped by the last that leaves."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    FOLDER.mkdir(mode=0o755, exist_ok=True)
    os.environ["SLURM_CONF"] = str(FOLDER / "slurm.conf")
    with (FOLDER / "users").open("a") as users:
        with _locked("start"):
            fcntl.flock(users, fcntl.LOCK_SH)
            if not _answers():
                stop()
                _start()
        try:
            yield
        finally:
            with _locked("start"), suppress(BlockingIOError):  # others still use it
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                stop()
            os.environ.pop("SLURM_CONF", None)


@contextmanager
def for_one_test() -> Iterator[None]:
    """The nodes are this test's alone; afterwards nothing is in the queue, and both nodes are up."""
    with _locked("test"):
        try:
            yield
        finally:
            slurm("scancel", "--signal=KILL", "--full", "--user=root", check=False)
            slurm("scancel", "--user=root", check=False)
            for name in NODES:
                if not _lives(name):
                    start_node(name)
            _until(lambda: not slurm("squeue", "--noheader"), 90)
            _until(_both_idle, 60)


def slurm(*command: str, check: bool = True) -> str:
    """What one of Slurm's commands prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout.strip()


def start_node(name: str) -> None:
    """A node's daemon."""
    _run("slurmd", "-f", str(FOLDER / "slurm.conf"), "-N", name)


def kill_node(name: str) -> None:
    """SIGKILL to the daemon of a node, to those of its jobs' steps and to all that they have started: a power cut."""
    daemon = int((FOLDER / f"{name}.pid").read_text())
    steps = [pid for pid in _processes() if "slurmstepd: [" in _title(pid) and _of_node(pid, name)]
    found = [daemon, *steps]
    for pid in found:
        found += [child for child in _processes() if _parent(child) == pid and child not in found]
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def stop() -> None:
    """Stop its daemons, by their ids."""
    for file in [*FOLDER.glob("*.pid")]:
        with suppress(ValueError, ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGTERM)
    _until(lambda: not any(_lives(file.stem) for file in FOLDER.glob("*.pid")), 30)
    for file in FOLDER.iterdir():
        if file.name not in ("start", "test", "users"):  # which others may hold
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)


def _start() -> None:
    host = socket.gethostname()
    (FOLDER / "slurm.conf").write_text(CONFIGURATION.format(folder=FOLDER, host=host))
    (FOLDER / "gres.conf").write_text(GPUS)
    for name in ("state", *(f"spool.{node}" for node in NODES)):
        (FOLDER / name).mkdir()
    key = FOLDER / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    places = [f"--{name}={FOLDER}/munge.{end}" for name, end in (("socket", "socket"), ("key-file", "key"))]
    places += [f"--{name}-file={FOLDER}/munge.{name}" for name in ("pid", "log", "seed")]
    _run("munged", "--force", *places)
    _run("slurmctld", "-c", "-f", str(FOLDER / "slurm.conf"))
    _until(lambda: "UP" in slurm("scontrol", "ping", check=False), 60)
    for node in NODES:
        start_node(node)
    _until(_both_idle, 60)


def _both_idle() -> bool:
    return slurm("sinfo", "--noheader", "--partition=low", "--format=%D %t", check=False) == "2 idle"


def _answers() -> bool:
    return (FOLDER / "slurm.conf").exists() and "UP" in slurm("scontrol", "ping", check=False)


def _lives(name: str) -> bool:
    try:
        pid = int((FOLDER / f"{name}.pid").read_text())
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, ValueError):
        return False


def _run(*command: str) -> None:
    subprocess.run(
        command, check=True, timeout=60, stdout=subprocess.DEVNULL, env={**os.environ, "PATH": _path()}, cwd=FOLDER
    )


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _until(condition: object, seconds: float) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, slurm("scontrol", "show", "node", check=False) + slurm(
            "squeue", check=False
        )
        time.sleep(0.2)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with (FOLDER / name).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _title(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _parent(pid: int) -> int:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _of_node(pid: int, name: str) -> bool:
    """Whether one of a step daemon's processes was told that it is on this node."""
    for child in _processes():
        if _parent(child) == pid:
            with suppress(OSError):
                if f"SLURMD_NODENAME={name}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
                    return True
    return False
