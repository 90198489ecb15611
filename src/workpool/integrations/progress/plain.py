"""Progress in plain text on stderr, for where there is no tqdm, and for logs.

On a terminal it is one living line, which several map calls share; elsewhere a line
now and then. The last line of each map call stays.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from workpool._compat import Lock
from workpool.integrations.progress.line import Line
from workpool.integrations.progress.words import tell

if TYPE_CHECKING:
    from workpool.integrations.progress.snapshot import Progress

__all__ = ["display", "write"]

_lock = Lock()  # guards _board and all that is written by it
_board: _Board | None = None  # while somebody is shown


def display(name: str, total: int | None) -> Plain:
    """Open a display on stderr."""
    del name, total
    return Plain()


def write(line: str, stream: TextIO) -> None:
    """Write a line above the living one."""
    with _lock:
        if _board is not None:
            _board.line.clear()
        stream.write(f"{line}\n")
        stream.flush()


class _Board:
    """What all plain displays together show on one stream."""

    def __init__(self, stream: TextIO) -> None:
        self.texts: dict[Plain, str] = {}
        self.line = Line(stream, lambda: "  |  ".join(self.texts.values()))


class Plain:
    """One map call's part of the line."""

    tick: float | None = 1.0  # the time that is left, and that is gone, moves on its own

    def __init__(self) -> None:
        global _board  # noqa: PLW0603 - a process has one stderr
        with _lock:
            if _board is None and sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison] - pythonw
                _board = _Board(sys.stderr)
            self._board = _board
            if self._board is not None:
                self._board.texts[self] = ""

    def show(self, progress: Progress) -> None:
        """Show it in the common line."""
        with _lock:
            if self._board is not None:
                self._board.texts[self] = tell(progress)
                self._board.line.look()

    def close(self, progress: Progress | None) -> None:
        """Leave a line that stays, and the common line to the others."""
        global _board  # noqa: PLW0603 - see above
        with _lock:
            board = self._board
            if board is None:
                return
            board.texts.pop(self, None)
            if not board.texts and board is _board:
                _board = None
            if progress is not None:
                board.line.leave(tell(progress))


def _in_child() -> None:
    """In a forked child: what is shown is the parent's, and a lock may be held by nobody here."""
    global _lock, _board
    _lock, _board = Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
