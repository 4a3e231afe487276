"""Who asks a process to stop is heard, wherever it stands. Scripts in processes of their own."""

import subprocess
import sys
import time

import pytest

from recipe.machine.signals import STOPPED
from recipe.plan.compose import PROJECT

BEGIN = """
import ctypes, os, signal, sys, threading, time
from recipe.machine import signals
from recipe.machine.signals import Stopped, StopSignal

signals.PATIENCE = 1.0
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup

def deaf():
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)  # for ever, and Python runs no handler

def ask(*numbers):
    def send():
        for number in numbers:
            time.sleep(0.3)
            os.kill(os.getpid(), number)
    threading.Thread(target=send, daemon=True).start()
"""


def run(script: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", BEGIN + script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=PROJECT)


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_before_the_first_step_a_deaf_process_ends(number: str) -> None:
    done = run(f"ask(signal.{number})\nwith StopSignal(at_once=True):\n    deaf()")
    assert done.returncode == STOPPED
    assert done.stderr == "Stopped before its first step: nothing was trained yet. The same command begins again.\n"


def test_before_the_first_step_stopped_is_raised_where_the_process_stands() -> None:
    done = run("ask(signal.SIGTERM)\nwith StopSignal(at_once=True):\n    time.sleep(30)")
    assert "Stopped before its first step" in done.stderr.splitlines()[-1]
    assert done.returncode == 1


def test_later_on_a_deaf_process_ends_at_the_second_ctrl_c_and_not_at_the_first() -> None:
    begin = time.monotonic()
    done = run("ask(signal.SIGTERM, signal.SIGINT)\nwith StopSignal():\n    deaf()")
    assert done.returncode == 130
    assert time.monotonic() - begin > 1
    done = run("ask(signal.SIGINT)\nwith StopSignal() as stop:\n    time.sleep(3)\n    print(stop.name)")
    assert done.stdout == "SIGINT\n"


def test_who_has_heard_the_second_ctrl_c_may_clean_up() -> None:
    done = run(
        "ask(signal.SIGINT, signal.SIGINT)\n"
        "with StopSignal():\n"
        "    try:\n"
        "        time.sleep(30)\n"
        "    except KeyboardInterrupt:\n"
        "        time.sleep(3)\n"
        "        print('clean')\n"
    )
    assert (done.returncode, done.stdout) == (0, "clean\n")


def test_signals_of_a_fork_are_its_own() -> None:
    """A data worker that is stopped does not stop the run."""
    done = run(
        "with StopSignal(at_once=True) as stop:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "        time.sleep(1)\n"
        "        os._exit(0)\n"
        "    time.sleep(0.3)\n"
        "    os.kill(child, signal.SIGTERM)\n"
        "    time.sleep(3)\n"
        "    print(stop.name)\n"
    )
    assert (done.returncode, done.stdout) == (0, "None\n")


def test_ignored_hangup_stays_ignored() -> None:
    done = run(
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with StopSignal() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    print(stop.name)\n"
    )
    assert done.stdout == "None\n"
