"""Pickles over a pipe, and a worker made of nothing else; imports as little as can be."""

from __future__ import annotations

import os
import pickle
from struct import Struct

TYPE_CHECKING = False  # as the typing module's, which would cost time to import
if TYPE_CHECKING:
    from typing import Any

_LENGTH = Struct("<Q")


def send(fd: int, value: object) -> None:
    """Write one message."""
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    data = _LENGTH.pack(len(data)) + data
    while (written := os.write(fd, data)) < len(data):
        data = data[written:]


def receive(fd: int) -> Any:
    """Read one message; EOFError at the end."""
    (left,) = _LENGTH.unpack(_read(fd, _LENGTH.size))
    return pickle.loads(_read(fd, left))


def _read(fd: int, size: int) -> bytes:
    data = os.read(fd, size)
    if len(data) == size:
        return data
    if not data:
        raise EOFError
    return data + _read(fd, size - len(data))


def serve(task_r: int, result_w: int) -> None:
    """Be the worker, until the parent has closed its end; never returns."""
    try:
        while True:
            fn, args = receive(task_r)
            send(result_w, fn(*args))
    except EOFError:
        os._exit(0)
    finally:
        os._exit(1)
