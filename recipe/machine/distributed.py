"""The processes of a run, as torchrun starts them, and the few things they tell each other."""

import gc
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recipe.config import RuntimeConfig
from recipe.errors import RunError, UserError, rank_local
from recipe.machine import connections, gradient_order, interfaces, limits, lost_machine, rendezvous
from recipe.machine.numerics import set_numerics
from recipe.machine.signals import end_with_parent

TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Ranks:
    """A process among those of the run. With one process, every method is a no-op."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    device: torch.device
    command: str = ""  # names the command that started this process, see rendezvous.py
    network_timeout: int = 0  # seconds, of runtime.network_timeout

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def all_equal(self, value: Any) -> bool:
        """Whether every rank has the same value."""
        return all(other == value for other in self.every(value))

    def every(self, value: Any) -> list[Any]:
        """What each rank gave, by rank."""
        values = [value] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(values, value)
        return values

    def union(self, names: set[str]) -> set[str]:
        """The names that any rank has."""
        return set().union(*self.every(names))

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.world_size > 1:
            dist.barrier()

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def on_first(self, function: Callable[[], Any]) -> Any:
        """What rank 0's call returns, on every rank; a UserError of rank 0 is raised on all."""
        outcome: list[Any] = [None, None]
        if self.first:
            try:
                outcome[0] = function()
            except UserError as error:
                if self.world_size == 1:
                    raise
                outcome[1] = error
        if self.world_size > 1:
            dist.broadcast_object_list(outcome, src=0, device=self.device)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def gather_rows(self, tensor: Tensor) -> Tensor:
        """The rows of all ranks' tensors, one rank after another, on rank 0; elsewhere only its own.

        Ranks may have different numbers of rows, none included.
        """
        if self.world_size == 1:
            return tensor
        counts = torch.zeros(self.world_size, dtype=torch.int64, device=tensor.device)
        counts[self.rank] = len(tensor)
        rows = self.sum(counts).tolist()
        padded = tensor.new_zeros((max(rows), *tensor.shape[1:]))
        padded[: len(tensor)] = tensor
        received = [torch.empty_like(padded) for _ in rows] if self.first else None
        dist.gather(padded, received, dst=0)
        if received is None:
            return tensor
        return torch.cat([part[:count] for part, count in zip(received, rows, strict=True)])

    def averaging_gradients(self, network: nn.Module) -> nn.Module:
        """The network as training calls it: its backward pass averages the gradients over the ranks.

        Buffers are not broadcast in each forward pass: `Statistics.of_first` keeps the ones that count, on rank 0.
        """
        if self.world_size == 1:
            return network
        device_ids = [self.device] if self.device.type == "cuda" else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # 2.14 renames broadcast_buffers, 2.11 knows no other name
            model = nn.parallel.DistributedDataParallel(
                network, device_ids=device_ids, broadcast_buffers=False, gradient_as_bucket_view=True
            )
        if gradient_order.matters(self.world_size, dist.get_backend()):
            model.register_comm_hook(self.world_size, gradient_order.each_by_itself)
        return model

    def copy_buffers(self, *models: nn.Module | None) -> None:
        """Give every rank rank 0's buffers. Rank 0 has those that count: it runs each step's micro-batch 0."""
        if self.world_size == 1:
            return
        for model in models:
            for buffer in model.buffers() if model is not None else ():
                dist.broadcast(buffer, src=0)


class Agreement:
    """What any rank wishes becomes known to all ranks at the same step boundary, without a wait in the step."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        # Beside the group of the gradients, and on the host: a GPU's queue of work is not waited for.
        self._group: Any = dist.new_group(backend="gloo") if ranks.world_size > 1 else None
        self._limit_connections()
        self._flags = torch.zeros(0, dtype=torch.uint8)
        self._sent: Any = None

    def reach(self, *wishes: bool) -> tuple[bool, ...]:
        """Whether any rank had each wish one call ago (with one process: now). Every rank calls it once a step."""
        if self._ranks.world_size == 1:
            return wishes
        self.wait()
        if not len(self._flags):  # the first step is done, for which NCCL has made connections
            self._limit_connections()
        agreed = self._flags.bool().tolist() or [False] * len(wishes)
        self._flags = torch.tensor(wishes, dtype=torch.uint8)
        self._sent = dist.all_reduce(self._flags, dist.ReduceOp.MAX, self._group, async_op=True)
        return tuple(agreed)

    def wait(self) -> None:
        """Until what was sent last has arrived everywhere."""
        if self._sent is not None:
            self._sent.wait()
            self._sent = None

    def _limit_connections(self) -> None:
        if self._ranks.world_size > self._ranks.local_world_size:
            connections.limit(self._ranks.network_timeout)


def is_first() -> bool:
    """Whether this process is the run's rank 0, before the processes have joined."""
    return os.environ.get("RANK", "0") == "0"


def start(config: RuntimeConfig) -> Ranks:
    """Join the other processes of the run, if torchrun started several; compute as the config says. Raises RunError."""
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local_rank, local_world_size = (
        int(os.environ.get("LOCAL_RANK", "0")),
        int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
    )
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent()
    device = _device(config, local_rank, local_world_size, world_size)
    if "OMP_NUM_THREADS" not in os.environ:  # PyTorch counts the machine's cores, a container may have few of them
        torch.set_num_threads(min(torch.get_num_threads(), limits.cores()))
    if config.precision == "fp16" and device.type == "cpu":
        raise RunError("runtime.precision=fp16 needs a GPU, and this run is on a CPU: use bf16 or fp32")
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts on a device
    set_numerics(config)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store = rendezvous.agents_store(world_size, TIMEOUT)
    command = rendezvous.command(store)
    if world_size > 1:
        backend = {"cuda": "nccl", "cpu": "gloo"}[device.type]
        device_id = device if device.type == "cuda" else None
        if store is not None:
            met = rendezvous.meet(store, rank, world_size, TIMEOUT)
        else:
            met = rendezvous.own_store(rank, world_size, TIMEOUT)
        if world_size > local_world_size:
            interfaces.choose(met, rank, world_size)
        try:
            dist.init_process_group(
                backend, timeout=TIMEOUT, device_id=device_id, store=met, rank=rank, world_size=world_size
            )
        except RuntimeError as error:
            if interfaces.unreachable(error):
                raise rank_local(RunError(interfaces.advice())) from error
            raise
    ranks = Ranks(rank, world_size, local_rank, local_world_size, device, command, config.network_timeout)
    if world_size > local_world_size:
        own = connections.limit(config.network_timeout)
        for host, addresses in ranks.every((socket.gethostname(), own)):
            lost_machine.known.update(dict.fromkeys(addresses, host))
    return ranks


def lost_a_process(error: RuntimeError) -> bool:
    """Whether an error means that another process of the run is gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def stop() -> None:
    """Leave the group of processes, and end its threads.

    They end with the last reference to the group. One that was still at work when the interpreter ended would end the
    process by "terminate called without an active exception", and torchrun then the others.
    """
    if dist.is_initialized():
        gc.collect()  # a training's parts hold each other, and the group
        dist.destroy_process_group()


@contextmanager
def gradients_averaged(model: nn.Module, now: bool) -> Iterator[None]:
    """Let the backward pass average the gradients over the ranks: only in the last micro-batch of a step."""
    if now or not isinstance(model, nn.parallel.DistributedDataParallel):
        yield
    else:
        with model.no_sync():
            yield


def _device(config: RuntimeConfig, local_rank: int, local_world_size: int, world_size: int) -> torch.device:
    kind = limits.device(config.device)
    if kind == "auto":
        mps = world_size == 1 and torch.backends.mps.is_available()
        kind = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if kind == "cuda":
        available = torch.cuda.device_count()
        if local_world_size > available:
            most = f"at most --nproc_per_node={available}" if available > 1 else "--nproc_per_node=1"
            raise RunError(
                f"{local_world_size} processes on this machine, but {available} GPU{'s' * (available > 1)}: "
                f"use {most}, or runtime.device=cpu"
                if available
                else "PyTorch finds no GPU here, and runtime.device (or $RECIPE_DEVICE) asks for one: use cpu"
            )
        return torch.device("cuda", local_rank)
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise RunError("runtime.device=mps, but PyTorch finds none here: use runtime.device=cpu")
        if world_size > 1:
            raise RunError("Apple's GPU takes one process: use python train.py …, or runtime.device=cpu")
    return torch.device(kind)
