"""Signals that ask a run to stop: it finishes its step, saves, and ends with exit code 75.

A second Ctrl-C does not wait for that; and before the first step is done, where nothing can be lost, no signal does.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from recipe.machine.descendants import end_descendants

STOPPED = 75  # the exit code: "temporary failure" in sysexits.h; the same command goes on
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)  # of schedulers, and of `ulimit -t`: little time is left
ASKS_TO_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, *WARNINGS)
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
WORKER_GRACE = 60  # seconds that a data worker outlives a SIGTERM sent to all processes, for the run's last step
PATIENCE = 4.0  # seconds for what a signal that must not wait has begun, before the process is ended without it
LINGER = 0.6  # seconds that a rank which ends before its first step stays, for the others to learn of it from itself


class Stopped(BaseException):
    """A run that was asked to stop, and has. Not an Exception: a sweep must not go on with its other jobs."""

    def __init__(self, where: str = "", kept: str = "saved") -> None:
        """`kept`: "saved", what was done until then; "before", it had not done anything beyond its last checkpoint;
        "nothing", it had done nothing at all.
        """
        super().__init__(where)
        self.where, self.kept = where, kept
        self.resumes = True  # whether the same command goes on from there: not with resume=never

    @classmethod
    def at_start(cls, goes_on: bool) -> "Stopped":
        """What a run says that has not done a step since it was started; `goes_on`: from a checkpoint."""
        return cls("before its next step", "before") if goes_on else cls("before its first step", "nothing")

    def __str__(self) -> str:
        advice = "The same command goes on from there." if self.resumes else "resume=auto goes on from there."
        if self.kept == "saved":
            return f"Stopped {self.where}, and saved. {advice}"
        if self.kept == "before":
            return f"Stopped {self.where}: all that was trained is in the last checkpoint. {advice}"
        return f"Stopped {self.where}: nothing was trained yet. The same command begins again."


class StopSignal:
    """While it is open, the signals above are noted instead of ending the process. `name` is None until one arrives.

    SIGHUP stays ignored where it was (nohup).
    """

    def __init__(self, at_once: bool = False) -> None:
        """`at_once`: as long as that is true, a signal ends the process with exit code 75 within PATIENCE. It raises
        `at_start` where it arrives, so that what is half done is cleared away. The main thread may stand in a wait of
        C++ (for another rank), where Python runs no handler: then the process ends without.

        While `in_step` is true as well, nothing is raised: a compiler's or an engine's code lies between.
        """
        self.name: str | None = None
        self.at_once, self.in_step = at_once, False
        self.at_start = Stopped.at_start(goes_on=False)
        self.tell_others: Callable[[], object] | None = None  # the other ranks that this one ends
        self.heeds_others = True  # until all ranks have done their first step
        self.told = False  # by another rank that it has ended before that
        self._raised = self._unwound = False
        self._heard = 0.0  # when a handler has last run

    def __enter__(self) -> "StopSignal":
        self._process = os.getpid()
        ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        noted = [number for number in ASKS_TO_STOP if not (ignored and number == signal.SIGHUP)]
        self._before = {number: signal.signal(number, self._note) for number in noted}
        reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._woken_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True).start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._raised and self.at_once and error is not None:
            self._unwound = True  # the thread goes on: the interpreter's end may not take longer, either
            if not isinstance(error, Stopped):
                raise self.at_start from error
            return
        self.at_once = self.heeds_others = False
        signal.set_wakeup_fd(self._woken_before)
        os.close(self._writer)  # which ends the thread
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def end_too(self) -> None:
        """In a thread: another rank has ended before its first step, and so does this one, wherever it stands."""
        self.told = True
        os.kill(self._process, signal.SIGTERM)

    def _note(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that has just been forked, and has no handlers of its own yet
            return
        self._heard = time.monotonic()
        again, self.name = self.name is not None, signal.Signals(number).name
        if self.told or (self.at_once and self.in_step):
            while True:  # the thread ends the process; until then the loss of its workers must not be noticed here
                with suppress(BaseException):
                    time.sleep(1)
        if self.at_once:
            if self._raised:
                return
            self._raised = True
            if self.tell_others is not None:
                time.sleep(LINGER)
            raise self.at_start
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            _tell("\nStopping after this step or evaluation. Ctrl-C again does not wait.\n")

    def _watch(self, reader: int) -> None:
        """In a thread, which is told of each signal at once: end the process where its main thread is deaf."""
        asked = 0
        while woken := os.read(reader, 1):
            if woken[0] not in self._before:  # PyTorch's SIGCHLD
                continue
            asked += 1
            if self.at_once or self.told:
                self._end_at_once()
                continue
            asked_at = time.monotonic() - 1.0  # the handler may have run before this thread did
            while asked > 1 and woken[0] == signal.SIGINT and self._heard < asked_at:
                time.sleep(0.1)
                if time.monotonic() > asked_at + 1.0 + PATIENCE:
                    _tell("Ended.\n")
                    os._exit(130)
        os.close(reader)

    def _end_at_once(self) -> None:
        """End the process, in `in_step` now, else where it has not ended after PATIENCE."""
        end_at = time.monotonic() + PATIENCE
        if self.tell_others is not None:
            threading.Thread(target=self.tell_others, daemon=True).start()  # which may wait
            time.sleep(LINGER)
        while self.at_once and not self.in_step and not self.told and time.monotonic() < end_at:
            time.sleep(0.05)
        if self.at_once or self.told:  # no step was done after all
            end_descendants()
            if not self._unwound:
                _tell(f"{chr(10) * sys.stderr.isatty()}{self.at_start}\n")
            os._exit(STOPPED)


def _tell(text: str) -> None:
    """On standard error, from a handler, where print may not; once for all ranks."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):  # nobody reads any more
            os.write(2, text.encode())


def _leave_to_the_parent() -> None:
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)  # a fork's signals are none of its parent's


os.register_at_fork(after_in_child=_leave_to_the_parent)


def last_words() -> None:
    """At the end of the program: no handler may raise while Python waits for the thread that writes a checkpoint, or
    the interpreter is torn down below it. Another Ctrl-C ends the process as signals do.
    """
    for number in (signal.SIGINT, signal.SIGCHLD):  # PyTorch's handler of SIGCHLD raises where a worker has died
        signal.signal(number, signal.SIG_DFL)


def end_with_parent() -> None:
    """Be asked to stop when the process that started this one ends, even by SIGKILL. (Linux has this.)

    Else the ranks of a torchrun that was killed, or the jobs of a sweep, would go on unseen and keep their folders.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)


def outlive_the_last_step(_worker: int = 0) -> None:
    """In a data worker: what stops all processes of a machine at once must not take the run's last step from it."""
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(WORKER_GRACE) and None)
    for number in (signal.SIGINT, signal.SIGHUP, *WARNINGS):
        signal.signal(number, signal.SIG_IGN)


def nohup_in_vain() -> bool:
    """Whether torchrun started this process, itself started by nohup, whose word it takes back: it catches SIGHUP."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or not _has(os.getppid(), "SigCgt"):
        return False
    return os.path.basename(os.environ.get("_", "")) == "nohup" or _has(_parent(os.getppid()), "SigIgn")


def _has(process: int, mask: str) -> bool:
    """Whether SIGHUP is in a process's mask: SigCgt, caught, or SigIgn, ignored. False where that is not told."""
    return bool(int(_status(process).get(mask, "0"), 16) >> (signal.SIGHUP - 1) & 1)


def _parent(process: int) -> int:
    return int(_status(process).get("PPid", "0"))


def _status(process: int) -> dict[str, str]:
    try:
        lines: Sequence[str] = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
