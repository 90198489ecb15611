"""Tasks that end their worker: ways to die, places to die at, and an account of what was started."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tests.support.dying import die
from tests.support.gates import say, stop
from workpool.ipc import frames, journal, onecall, outbox, runner, serving

__all__ = [
    "WAYS",
    "crashing_child",
    "die_at_line",
    "die_if",
    "die_once",
    "die_while_held",
    "exit_later",
    "fail_or_die",
    "hang",
    "hang_item",
    "hold_first",
    "nap",
    "note",
    "noted_bytes",
    "noted_size",
    "started",
    "takes_a_while",
    "unarm",
]

# ------------------------------------------------------------------------ ways to die


def by_signal(number: int) -> NoReturn:
    os.kill(os.getpid(), number)
    while True:
        signal.pause()


def by_null_read() -> NoReturn:
    ctypes.string_at(0)
    raise AssertionError


def by_abort() -> NoReturn:
    os.abort()


def by_exit() -> NoReturn:
    os._exit(7)


# How a worker dies: the call that does it, its exit code, and what a message calls it.
WAYS: dict[str, tuple[Callable[[], object], int, str]] = {
    "SIGKILL": (partial(by_signal, int(signal.SIGKILL)), -9, "SIGKILL"),
    "SIGTERM": (partial(by_signal, int(signal.SIGTERM)), -15, "SIGTERM"),
    "SIGSEGV": (partial(by_signal, int(signal.SIGSEGV)), -11, "SIGSEGV"),
    "SIGFPE": (partial(by_signal, int(signal.SIGFPE)), -8, "SIGFPE"),
    "null read": (by_null_read, -11, "SIGSEGV"),
    "abort": (by_abort, -6, "SIGABRT"),
    "os._exit": (by_exit, 7, "exit code 7"),
}

# ------------------------------------------------------------- an account of the starts


def note(path: str, word: object) -> None:
    """Write a word down, whole, whoever else writes and whatever happens next."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{word}\n".encode())
    os.close(fd)


def started(path: Path) -> Counter[str]:
    """Count how often each word was written down."""
    return Counter(path.read_text().split()) if path.exists() else Counter()


def die_if(path: str, fatal: int, way: str, n: int) -> int:
    """Note the start; die with one number, double the others."""
    note(path, n)
    if n == fatal:
        WAYS[way][0]()
    return 2 * n


def takes_a_while(path: str, n: int) -> int:
    """Note the start, and work for a few milliseconds."""
    note(path, n)
    until = time.monotonic() + 0.004
    while time.monotonic() < until:
        pass
    return 3 * n


def fail_or_die(path: str, _: object) -> int:
    """Fail at the second start, die at the first and third, and tell at the next how many there were."""
    note(path, "start")
    now = started(Path(path))["start"]
    if now == 2:
        raise LookupError(now)
    if now < 4:
        die()
    return now


def exit_later(gate: str) -> None:
    """Leave a thread in the worker that ends it when the gate is opened, with whatever it does then."""

    def wait_and_exit() -> None:
        stop(gate)
        by_exit()

    threading.Thread(target=wait_and_exit, daemon=True).start()


def crashing_child() -> int:
    """Fork a child that crashes, and wait for it."""
    child = os.fork()
    if not child:
        os.abort()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def die_once(path: str, n: int) -> int:
    """Die at the first start with this number, double it at the next."""
    note(path, n)
    if started(Path(path))[str(n)] == 1:
        die()
    return 2 * n


def noted_size(path: str, data: bytes) -> int:
    note(path, "size")
    return len(data)


def noted_bytes(path: str, size: int) -> bytes:
    note(path, "bytes")
    return bytes(size)


def hold_first(gate: str, path: str, n: int) -> int:
    """Note the start; stop at a gate with item 0, saying who this is."""
    note(path, n)
    if n == 0:
        stop(gate, os.getpid())
    return n


def hang(gate: str, how: str) -> None:
    """Say that it begins, then never come back: in C code that holds the GIL, at a lock, or in a loop."""
    say(gate, how)
    if how == "C code":
        ctypes.PyDLL(None).sleep(600)  # house: sleep - it is to hang
    elif how == "C code, deaf":
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        ctypes.PyDLL(None).sleep(600)  # house: sleep - it is to hang
    elif how == "lock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    while True:
        pass


def hang_item(gate: str, n: int) -> int:
    if n == 1:
        hang(gate, "lock")
    return n


def nap(gate: str, seconds: int) -> int:
    """Sleep in C code that a signal would wake; tell how many seconds were left when it woke."""
    say(gate, "asleep")
    left: int = ctypes.CDLL(None).sleep(seconds)  # house: sleep - it is to be left alone
    return left


def die_while_held(thing: Any, gate: str) -> None:
    """Hold a lock, or another context, until killed."""
    with thing:
        stop(gate)


# --------------------------------------------------------- dying at a line of the library

_LIBRARY = frozenset(
    module.__file__ for module in (serving, runner, onecall, outbox, journal, frames)
)


def die_at_line(number: int) -> None:
    """Have this worker killed before the library runs so many more lines, from the end of this task on."""
    left = number

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in _LIBRARY:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                die()
        return trace

    for frame in _callers(sys._getframe(1)):
        frame.f_trace = trace
    sys.settrace(trace)


def unarm() -> None:
    """Let this worker live."""
    sys.settrace(None)
    for frame in _callers(sys._getframe(1)):
        frame.f_trace = None


def _callers(frame: FrameType | None) -> Iterable[FrameType]:
    while frame is not None:
        if frame.f_code.co_filename in _LIBRARY:
            yield frame
        frame = frame.f_back
