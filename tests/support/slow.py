"""Tasks that take their time: some hear that it is over, some do not."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from tests.support.fatal import note, started
from tests.support.gates import say
from workpool.errors import TimeLimitExceeded

__all__ = [
    "SlowToLoad",
    "cpu_of_threads",
    "goes_on",
    "naps",
    "pid",
    "slow_until",
    "spin",
    "swallows",
    "tidies_up",
    "tidies_up_at",
    "waits_for_inner",
]


def pid() -> int:
    return os.getpid()


def spin(seconds: float) -> float:
    """Be busy in Python for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return seconds


def naps(seconds: float) -> float:
    threading.Event().wait(seconds)
    return seconds


def wait_for_ever(how: str) -> None:
    if how == "sleep":
        time.sleep(600)  # house: sleep - the task is to be interrupted in it
    elif how == "lock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    elif how == "socket":
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.recv(1)
    elif how == "C code":
        ctypes.PyDLL(None).sleep(600)  # house: sleep - it is to hang
    elif how == "C code, deaf":
        import signal

        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        ctypes.PyDLL(None).sleep(600)  # house: sleep - it is to hang
    while True:
        pass


def tidies_up(path: str, how: str) -> None:
    note(path, "begin")
    try:
        wait_for_ever(how)
    finally:
        note(path, "tidy")


def tidies_up_at(path: str, place: int, n: int) -> int:
    if n == place:
        tidies_up(path, "lock")
    return n


def swallows(error: BaseException | None) -> str:
    """Hear the warning and return, or raise something else."""
    try:
        wait_for_ever("loop")
    except TimeLimitExceeded:
        if error is not None:
            raise error from None
    return "swallowed"


def goes_on(gate: str, how: str) -> None:
    """Take no notice of any warning."""
    say(gate, how)
    while True:
        try:
            wait_for_ever(how)
        except TimeLimitExceeded:
            continue


def slow_until(path: str, attempt: int) -> int:
    """Hang at every start before that one."""
    note(path, "start")
    now = started(Path(path))["start"]
    if now < attempt:
        wait_for_ever("lock")
    return now


def lingers(running: threading.Event) -> int:
    """Say that it runs, and go on in Python for a long time: a thread can be interrupted there."""
    running.set()
    spin(600.0)
    return 0


def waits_for_inner(
    pool: Any, inner: list[Any], running: threading.Event, limit: float | None, n: int
) -> int:
    """Submit a task to the own pool and wait for it, in a task or item."""
    inner.append(pool.options(time_limit=limit).submit(lingers, running))
    return n + int(inner[-1].result())


def cpu_of_threads(name: str) -> float:
    """Tell how much CPU time the threads of that name have had, seconds."""
    spent = 0.0
    for thread in threading.enumerate():
        if thread.name.startswith(name) and thread.native_id is not None:
            fields = (
                Path(f"/proc/self/task/{thread.native_id}/stat")
                .read_text()
                .rpartition(")")[2]
                .split()
            )
            spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


class SlowToLoad(KeyError):
    """Takes so many seconds to be unpickled."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def __reduce__(self) -> Any:
        return spun, (self.seconds,)


def spun(seconds: float) -> SlowToLoad:
    return SlowToLoad(spin(seconds))
