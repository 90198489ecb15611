"""Tasks that hold their whole worker: C code that keeps the GIL until a gate is opened."""

from __future__ import annotations

import ctypes
import os
import socket
from typing import Any

from tests.support.fatal import note
from tests.support.gates import knock, stop

__all__ = [
    "grip",
    "grip_and_name",
    "grip_at",
    "noted_grip",
    "pause_and_name",
    "pause_at",
    "pause_then_grip",
]


def grip(gate: str) -> int:
    """Say who this is at a gate, and wait there in C code that keeps the GIL; gives the length of its name."""
    guest: socket.socket | None = knock(gate, str(os.getpid()))
    if guest is not None:
        libc: Any = ctypes.PyDLL(None)
        libc.recv(guest.fileno(), ctypes.create_string_buffer(1), 1, 0)
        guest.close()
    return len(gate)


def grip_at(gate: str) -> int:
    """Do so, or nothing at all if there is no gate; gives a number."""
    return grip(gate) if gate else 0


def grip_and_name(gate: str) -> str:
    """Do the same, and give a string."""
    return str(grip(gate)) if gate else ""


def pause_at(gate: str) -> int:
    """Say who this is at a gate and wait there, or do nothing if there is none; other threads go on. Gives a number."""
    if gate:
        stop(gate, os.getpid())
    return len(gate)


def pause_and_name(gate: str) -> str:
    """Do the same, and give a string."""
    return str(pause_at(gate)) if gate else ""


def pause_then_grip(gates: str) -> int:
    """Do so at the first of two gates, and hold the whole worker at the second; gives a number."""
    if not gates:
        return 0
    first, second = gates.split(":")
    return pause_at(first) + grip(second)


def noted_grip(path: str, gate: str, held: int, n: int) -> int:
    """Note the start; grip with one number, double them all."""
    note(path, n)
    if n == held:
        grip(gate)
    return 2 * n
