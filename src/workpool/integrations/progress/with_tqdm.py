"""Progress drawn by tqdm: a bar on a terminal, a widget in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

import tqdm.auto

if TYPE_CHECKING:
    from workpool.integrations.progress.snapshot import Progress

__all__ = ["display", "write"]


def display(name: str, total: int | None) -> Bar:
    """Open a bar; in the thread of the call, so that a notebook shows it in that cell."""
    return Bar(name, total)


def write(line: str, stream: TextIO) -> None:
    """Write a line above the bars."""
    tqdm.auto.tqdm.write(line, file=stream)
    stream.flush()


class Bar:
    """A tqdm bar that is told where it stands."""

    tick: float | None = 1.0  # the time that is gone moves on its own

    def __init__(self, name: str, total: int | None) -> None:
        # Without tqdm's own thread, which looks after bars that nobody updates: we do.
        kind: Any = type("Bar", (tqdm.auto.tqdm,), {"monitor_interval": 0})
        # It draws at each update: how often that is, is decided by who calls.
        self._bar = kind(
            total=total, desc=name, dynamic_ncols=True, mininterval=0, miniters=0, smoothing=0.1
        )
        self._failed = 0

    def show(self, progress: Progress) -> None:
        """Move the bar."""
        bar = self._bar
        bar.total = progress.total
        if progress.failed != self._failed:
            self._failed = progress.failed
            bar.set_postfix(failed=progress.failed, refresh=False)
        fresh = progress.restored - bar.initial
        if fresh:  # from a journal: no work of this run, and not counted in its rate
            bar.initial += fresh
            bar.n += fresh
            bar.last_print_n += fresh
        bar.update(progress.finished - bar.n)

    def close(self, progress: Progress | None) -> None:
        """Leave the bar where it stands."""
        if progress is not None:
            self.show(progress)
        if getattr(self._bar, "pos", 0):
            self._bar.clear()  # it is left in the first row, and what stood in its own would stay
        # In one step: tqdm forgets the bar first, and a line written then would be put behind it.
        with self._bar.get_lock():
            self._bar.close()
