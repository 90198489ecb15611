"""How far a long job is: a living line on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import shutil
from time import monotonic
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Line", "is_terminal"]

LIVING = 0.1  # seconds between two looks of the living line
FIRST, LONGEST = 0.25, 16.0  # seconds to the first line in a log, doubled up to the longest pause


class Line:
    """Shows one line about a job, not too often.

    Parameters
    ----------
    stream : text stream
        Where to; on a terminal the line is written over itself.
    tell : callable
        Gives the line.
    """

    def __init__(self, stream: TextIO, tell: Callable[[], str]) -> None:
        self._stream = stream
        self._tell = tell
        self._living = is_terminal(stream)
        self._pause = LIVING if self._living else FIRST
        self._next = monotonic() + self._pause
        self._shown = 0  # width of the line that stands there

    def look(self) -> None:
        """Show the line if it is time to; cheap enough to be called for each result."""
        now = monotonic()
        if now < self._next:
            return
        if self._living:
            self._next = now + self._pause
            self._write(self._tell()[: shutil.get_terminal_size().columns - 1])
        else:
            self._pause = min(2 * self._pause, LONGEST)
            self._next = now + self._pause
            self._stream.write(f"{self._tell()}\n")
            self._stream.flush()

    def clear(self) -> None:
        """Take the living line away, to make room for what follows."""
        if self._shown:
            self._write("")
            self._shown = 0
            self._stream.write("\r")
            self._stream.flush()

    def leave(self, line: str) -> None:
        """Write a line that stays, above the living one."""
        self.clear()
        self._stream.write(f"{line}\n")
        self._stream.flush()
        if self._living:
            self._next = 0.0  # the living one comes back at the next look

    def _write(self, line: str) -> None:
        self._stream.write("\r" + line.ljust(self._shown))
        self._stream.flush()
        self._shown = len(line)


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream can show what moves; one that is closed, or cannot say, cannot."""
    try:
        return stream is not None and stream.isatty()
    except (ValueError, OSError, AttributeError):  # closed, gone, or a program's own
        return False
