"""Tasks that take too long: they hang until the test lets them go, or for ever."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from tests.support.gates import knock, say
from tests.support.tasks import situation

__all__ = ["hang", "hang_before", "hanging_at", "hold_the_interpreter", "until_told"]

R = TypeVar("R")


def hang(gate: str, value: R) -> R:
    """Hang until the gate is opened, then give the value."""
    guest = knock(gate, "")
    if guest is None:
        return value
    # By its number: an exception that is sent into a thread finds it between two lines of Python,
    # and those of a socket's own close() are such lines.
    fd = guest.detach()
    try:
        os.read(fd, 1)
    except ConnectionError:
        pass
    finally:
        os.close(fd)
    return value


def hang_before(attempt: int, gate: str) -> int:
    """Hang in the attempts before that one, and then tell which it is."""
    now = situation().attempt
    return hang(gate, now) if now < attempt else now


def _hang_at(gate: str, item: int, n: int) -> int:
    return hang(gate, n) if n == item else 2 * n


def hanging_at(item: int, gate: str) -> Callable[[int], int]:
    """Make a function that doubles, and hangs with one item."""
    return partial(_hang_at, gate, item)


def hold_the_interpreter(gate: str) -> None:
    """Say who this is, and compute in C for years without a look at anything."""
    say(gate, os.getpid())
    re.match("(a+)+$", "a" * 64 + "b")


def until_told(gate: str) -> None:
    """Run Python code until something is raised in it, and tell what."""
    say(gate, threading.current_thread().name)
    nap = threading.Event()
    try:
        while True:
            nap.wait(0.001)
    except BaseException as error:
        say(gate, type(error).__name__)
        raise
