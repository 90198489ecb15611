"""Progress drawn by rich; all map calls that are shown at a time share one live display."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Screen

from workpool._compat import Lock
from workpool.integrations.progress.words import clock, pace

if TYPE_CHECKING:
    from rich.progress import TaskID

    from workpool.integrations.progress.snapshot import Progress

__all__ = ["display"]

_lock = Lock()  # guards the two below
_screen: Screen | None = None  # rich has one live display on a terminal
_rows = 0  # map calls that are shown on it


class _Stderr(Console):
    """The program's stderr; that its reader has left is an error of the display, as a full disk is."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        """Raise what is being handled; rich itself would close the program's stdout, and end the program."""
        raise  # noqa: PLE0704 - called where a BrokenPipeError is handled


def display(name: str, total: int | None) -> Row:
    """Open a row, and the live display if it is the first."""
    return Row(name, total)


class Row:
    """One map call's row."""

    tick: float | None = (
        1.0  # the time that is gone, and the bar of an unknown total, move on their own
    )

    def __init__(self, name: str, total: int | None) -> None:
        global _screen, _rows  # noqa: PLW0603 - one for each process
        with _lock:
            if _screen is None:
                screen = Screen(
                    TextColumn("{task.description}", markup=False),
                    BarColumn(),
                    TaskProgressColumn(),
                    TextColumn("{task.fields[told]}", markup=False),
                    console=_Stderr(),
                    auto_refresh=False,  # drawn when there is news, without a thread of its own
                )
                screen.start()
                _screen = screen
            self._screen: Screen = _screen
            _rows += 1
        self._row: TaskID = self._screen.add_task(name, total=total, told="")

    def show(self, progress: Progress) -> None:
        """Move the row."""
        total = progress.total
        told = [f"{progress.finished:,}" + ("" if total is None else f"/{total:,}")]
        if progress.failed:
            told.append(f"{progress.failed:,} failed")
        if progress.restored:
            told.append(f"{progress.restored:,} from the journal")
        told.append(pace(progress.rate))
        if progress.left is None or progress.ended:
            told.append(f"{clock(progress.elapsed)} gone")
        else:
            told.append(f"{clock(progress.left)} left")
        self._screen.update(
            self._row, completed=progress.finished, total=total, told="  ".join(told), refresh=True
        )

    def close(self, progress: Progress | None) -> None:
        """Leave the row where it stands; the live display ends with its last row."""
        global _screen, _rows  # noqa: PLW0603 - see above
        try:
            if progress is not None:
                self.show(progress)
        finally:
            with _lock:
                _rows -= 1
                if not _rows:
                    _screen = None
                    self._screen.stop()


def _in_child() -> None:
    """In a forked child: what is shown is the parent's, and a lock may be held by nobody here."""
    global _lock, _screen, _rows
    _lock, _screen, _rows = Lock(), None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
