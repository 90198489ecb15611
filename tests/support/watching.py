"""What is shown of a map call, kept for a test to look at."""

from __future__ import annotations

import threading

from tests.support.gates import DEADLINE
from workpool import Progress

__all__ = ["Watcher"]


class Watcher:
    """A display that remembers what it was given."""

    def __init__(self) -> None:
        self.seen: list[Progress] = []
        self._changed = threading.Condition()

    def __call__(self, progress: Progress) -> None:
        """Be a display."""
        with self._changed:
            self.seen.append(progress)
            self._changed.notify_all()

    @property
    def last(self) -> Progress:
        """What it was given last."""
        return self.seen[-1]

    def until(self, *, finished: int = 0, ended: bool = False) -> Progress:
        """Wait until it is given that much."""
        with self._changed:
            there = self._changed.wait_for(
                lambda: (
                    bool(self.seen) and self.last.finished >= finished and self.last.ended >= ended
                ),
                DEADLINE,
            )
            assert there, f"never shown: {finished} finished, ended {ended}; got {self.seen}"
            return self.last
