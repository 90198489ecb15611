"""Pickles over a pipe, and a worker made of nothing else; imports as little as can be."""

import os
import pickle
from struct import Struct

_LENGTH = Struct("<Q")


def send(fd, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - no typing in here: it costs time to import
    """Write one message."""
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    data = _LENGTH.pack(len(data)) + data
    while (written := os.write(fd, data)) < len(data):
        data = data[written:]


def receive(fd):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - as above
    """Read one message; EOFError at the end."""
    (left,) = _LENGTH.unpack(_read(fd, _LENGTH.size))
    return pickle.loads(_read(fd, left))


def _read(fd, size):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as above
    data = os.read(fd, size)
    if len(data) == size:
        return data
    if not data:
        raise EOFError
    return data + _read(fd, size - len(data))


def serve(task_r, result_w):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - as above
    """Be the worker, until the parent has closed its end; never returns."""
    try:
        while True:
            fn, args = receive(task_r)
            send(result_w, fn(*args))
    except EOFError:
        os._exit(0)
    finally:
        os._exit(1)
