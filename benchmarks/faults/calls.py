"""What tasks do in these trials: work, and make trouble."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = [
    "BAD",
    "double",
    "exits",
    "hold_gil",
    "less_memory",
    "make",
    "make_exits",
    "note",
    "pid_of",
    "send_and_die",
    "size_of",
    "take",
    "trouble",
]

BAD = 3  # the item that makes trouble


def double(n: int) -> int:
    """Work for a moment."""
    time.sleep(0.01)
    return 2 * n


def pid_of(_: int) -> int:
    """Tell which worker this is."""
    time.sleep(0.05)
    return os.getpid()


def take(_: object) -> int:
    """Take anything."""
    return 1


def size_of(data: bytes) -> bytes:
    """Give it back."""
    return data


def make(size: int) -> bytes:
    """Give so many bytes."""
    return bytes(size)


def less_memory(room: int) -> int:
    """Leave this process room for so many bytes more, as long as it lives; tell which it is."""
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + room, hard))
    return pid_of(0)


def note(path: str, n: int) -> None:
    """Leave a mark, a moment later."""
    time.sleep(0.05)
    with open(f"{path}/{n}", "w"):
        pass


def hold_gil(out: int) -> None:
    """Say who we are, and be in C code for half a minute, holding the interpreter's lock."""
    os.write(out, f"{os.getpid()}\n".encode())
    ctypes.PyDLL(None).sleep(30)


def exits() -> NoReturn:
    """End the worker."""
    os._exit(7)


def make_exits() -> NoReturn:
    """Fail."""
    raise LookupError


class TwoArguments(Exception):
    """Cannot be rebuilt by pickle alone."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


class RaisesWhenPickled:
    """Ends whoever pickles it carelessly."""

    def __reduce__(self) -> NoReturn:
        raise SystemExit(3)


class RaisesWhenUnpickled:
    """Pickles well."""

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return make_exits, ()


class DiesWhenSent:
    """Has its process killed while it is being sent."""

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        # Any moment will do in which 200 MB are on their way.
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return bytes, (bytes(200_000_000),)


def send_and_die(n: int) -> object:
    """Give a result that kills on its way."""
    return DiesWhenSent() if n == BAD else double(n)


def _kill() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _crash() -> NoReturn:
    ctypes.string_at(0)
    raise AssertionError


def _too_much() -> int:
    less_memory(64_000_000)
    try:
        return len(bytearray(200_000_000))
    finally:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


def _raise_two() -> NoReturn:
    first, second = "one", "two"
    raise TwoArguments(first, second)


_TROUBLE: dict[str, Callable[[], object]] = {
    "kill": _kill,
    "crash": _crash,
    "exit": exits,
    "sys.exit": sys.exit,
    "two arguments": _raise_two,
    "lock": threading.Lock,
    "pickled": RaisesWhenPickled,
    "unpickled": RaisesWhenUnpickled,
    "nested": _nested,
    "memory": _too_much,
}


def trouble(kind: str, n: int) -> object:
    """Work; with one item make trouble of that kind."""
    return _TROUBLE[kind]() if n == BAD else double(n)
