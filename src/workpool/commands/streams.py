"""The standard streams, as a shell may hand them over: open, closed, full, or left by who read them.

A closed one is ``None`` in ``sys``, and its descriptor is given to the next file that is opened.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING, TextIO

from workpool.errors import text_of
from workpool.integrations.progress.above import write_above
from workpool.naming import visible

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = [
    "CannotWrite",
    "flush",
    "in_a_line",
    "is_closed",
    "no_gaps",
    "say",
    "silence",
    "tell",
    "telling",
    "writing",
]


STDOUT = "stdout"


class CannotWrite(Exception):
    """Something takes no more; the message says what and why. That stdout's reader has left is a BrokenPipeError."""


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
    """Write a line to stdout; what its encoding does not have, is escaped."""
    with writing():
        encoding = sys.stdout.encoding or "utf-8"
        print(line.encode(encoding, errors="backslashreplace").decode(encoding), flush=True)


def flush() -> None:
    """Have all out that was written to stdout; nothing is left where somebody has closed it meanwhile."""
    if not is_closed(sys.stdout) and not sys.stdout.closed:
        with writing():
            sys.stdout.flush()


@contextmanager
def writing(where: str = STDOUT) -> Generator[None]:
    """Name what cannot be written in the error of a block that writes there."""
    try:
        yield
    except OSError as error:
        if where == STDOUT and isinstance(error, BrokenPipeError):
            raise
        message = f"{where} cannot be written: {error.strerror or error}"
        raise CannotWrite(message) from error
    except ValueError as error:
        if where != STDOUT or not sys.stdout.closed:
            raise
        message = f"{where} cannot be written: it was closed in the midst of the run"
        raise CannotWrite(message) from error


def in_a_line(error: BaseException) -> str:
    """Tell an error in one line, whatever its text is."""
    text = visible(" ".join(text_of(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def tell(line: str) -> None:
    """Write a line to stderr, above a display of progress."""
    with telling():
        write_above(line.encode(errors="backslashreplace").decode(), sys.stderr)


@contextmanager
def telling() -> Generator[None]:
    """Have a block write to stderr; where that takes no more, or nobody reads it, the program goes on untold."""
    try:
        yield
    except BlockingIOError:
        pass  # it takes more in a moment: what did not go out now does then, or is left out
    except OSError:
        silence(sys.stderr)
    except ValueError:
        if not sys.stderr.closed:
            raise


def silence(stream: TextIO) -> None:
    """Let what is written from here on go nowhere: Python flushes once more on its way out, and must not fail there."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # no file, or closed by now: there is nothing to flush
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
