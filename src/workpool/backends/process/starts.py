"""Telling a crash loop from bad luck: how the workers of a pool have begun lately, all together.

A life is *barren* when its process died by itself, soon, before it began any call. One
barren life says little: somebody may be killing workers. Many in a row, while
nothing gets done by any worker, say that no worker can live here.

The first of them are replaced at once, the next ones after pauses that grow, so
that a loop costs little, and a pool that is under fire goes on when that ends.
"""

from __future__ import annotations

from time import monotonic

from workpool._compat import Lock

__all__ = ["SOON", "Starts"]

SOON = 1.0  # seconds: a life longer than that is not barren
_MOST = 5  # barren lives in a row
_LONG_ENOUGH = 1.0  # seconds for which it must have been going on
_AT_ONCE = 2  # barren lives that are replaced without a pause
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds


class Starts:
    """The barren lives in a row, of all workers of a pool."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards all below
        self.barren = 0  # in a row
        self._since = 0.0  # when the first of them ended
        self._done: int = -1  # what the pool had done by then

    def lived(self) -> None:
        """Note that a process was of use, or lived long."""
        with self._lock:
            self.barren = 0

    def died(self, done: int) -> float | None:
        """Note a barren life, and what the pool has done so far; gives the pause before the next, None for no more."""
        with self._lock:
            if done != self._done:
                self._done, self.barren = done, 0
            now = monotonic()
            if not self.barren:
                self._since = now
            self.barren += 1
            if self.barren >= _MOST and now - self._since >= _LONG_ENOUGH:
                return None
            if self.barren <= _AT_ONCE:
                return 0.0
            doubled: float = _FIRST_PAUSE * 2.0 ** min(self.barren - _AT_ONCE - 1, 10)
            return min(_LONGEST_PAUSE, doubled)
