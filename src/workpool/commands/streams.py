"""The standard streams, as a shell may hand them over: open, closed, full, or left by who read them.

A closed one is ``None`` in ``sys``, and its descriptor is given to the next file that is opened.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING, TextIO

from workpool.integrations.progress.above import write_above

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = [
    "CannotWrite",
    "flush",
    "is_closed",
    "no_gaps",
    "say",
    "silence",
    "tell",
    "telling",
    "writing",
]


class CannotWrite(Exception):
    """Stdout takes no more; the message says why. That its reader has left is a BrokenPipeError, as ever."""


@contextmanager
def no_gaps() -> Generator[None]:
    """Have something stand where a standard stream is closed, so that no other file comes there by chance.

    A journal with descriptor 2 would be given whatever C code, or a worker process, says to
    stderr. What is told goes nowhere then, and fails nowhere.
    """
    if None in {sys.__stdin__, sys.__stdout__, sys.__stderr__}:
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)
    if not is_closed(sys.stderr):
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
        yield


def is_closed(stream: TextIO | None) -> bool:
    """Tell whether a standard stream was closed before the program began."""
    return stream is None


def say(line: str) -> None:
    """Write a line to stdout."""
    with writing():
        print(line, flush=True)


def flush() -> None:
    """Have all out that was written to stdout."""
    if not is_closed(sys.stdout):
        with writing():
            sys.stdout.flush()


@contextmanager
def writing() -> Generator[None]:
    """Name the stream in the error of a block that writes to stdout."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"stdout cannot be written: {error.strerror or error}"
        raise CannotWrite(message) from error


def tell(line: str) -> None:
    """Write a line to stderr, above a display of progress."""
    with telling():
        write_above(line.encode(errors="backslashreplace").decode(), sys.stderr)


@contextmanager
def telling() -> Generator[None]:
    """Have a block write to stderr; where that takes no more, the program goes on untold."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Let what is written from here on go nowhere: Python flushes once more on its way out, and must not fail there."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
