"""Telling a crash loop from bad luck: how the workers of a pool have begun lately, all together.

A life is *barren* when its process died by itself, soon, before it began any call. One
barren life says little: somebody may be killing workers. Many in a row, while
nothing gets done by any worker, say that no worker can live here.

The first of them are replaced at once, the next ones after pauses that grow, so
that a loop costs little, and a pool that is under fire goes on when that ends.

A life that ends with its keeper says nothing of the pool. There it is the keepers that
are counted, each once for all the workers that it took along; and more of them, over a
longer time, are needed to say that no keeper can live here.
"""

from __future__ import annotations

from time import monotonic

from workpool._compat import Lock

__all__ = ["SOON", "Starts"]

SOON = 1.0  # seconds: a life longer than that is not barren
_MOST, _LONG_ENOUGH = (
    5,
    1.0,
)  # barren lives in a row, and seconds for which it must have been going on
_MOST_KEEPERS, _LONG_FOR_KEEPERS = 20, 10.0  # the same of keepers that died
_AT_ONCE = 2  # barren lives that are replaced without a pause
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds
_HIRE_AGAIN, _LONGEST_WAIT = 1.0, 8.0  # seconds, where the system has no process to give


class _Row:
    """What went wrong so many times in a row, while nothing got done; guarded by its owner."""

    def __init__(self) -> None:
        self.length = 0
        self._since = 0.0  # when the first of them ended
        self._done: int = -1  # what the pool had done by then

    def look(self, done: int) -> None:
        """Begin anew if something got done since."""
        if done != self._done:
            self._done, self.length = done, 0

    def longer(self, most: int, seconds: float) -> float | None:
        """Count one more; gives the pause before the next attempt, None for no more."""
        now = monotonic()
        if not self.length:
            self._since = now
        self.length += 1
        if self.length >= most and now - self._since >= seconds:
            return None
        return self.pause()

    def pause(self) -> float:
        """Give the pause before the next attempt."""
        if self.length <= _AT_ONCE:
            return 0.0
        doubled: float = _FIRST_PAUSE * 2.0 ** min(self.length - _AT_ONCE - 1, 10)
        return min(_LONGEST_PAUSE, doubled)


class Starts:
    """The barren lives in a row, of all workers of a pool, and the keepers that died in a row."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards all below
        self._barren = _Row()
        self._keepers = _Row()
        self._keeper = 0  # the last one that died
        self._refused = 0  # starts in a row for which the system had nothing

    @property
    def barren(self) -> int:
        """Barren lives in a row."""
        return self._barren.length

    @property
    def keepers(self) -> int:
        """Keepers in a row that died before any of their workers was of use."""
        return self._keepers.length

    def lived(self) -> None:
        """Note that a process was of use, or lived long."""
        with self._lock:
            self._barren.length = self._keepers.length = 0

    def started(self) -> None:
        """Note that the system had a process to give."""
        with self._lock:
            self._refused = 0

    def refused(self) -> float:
        """Note that it had none; gives the seconds until it is asked again."""
        with self._lock:
            self._refused += 1
            doubled: float = _HIRE_AGAIN * 2.0 ** min(self._refused - 1, 10)
            return min(_LONGEST_WAIT, doubled)

    def died(self, done: int) -> float | None:
        """Note a barren life, and what the pool has done so far; gives the pause before the next, None for no more."""
        with self._lock:
            self._barren.look(done)
            return self._barren.longer(_MOST, _LONG_ENOUGH)

    def went_with(self, keeper: int, done: int) -> float | None:
        """Note a life that ended with its keeper before it began any call; gives the same."""
        with self._lock:
            self._keepers.look(done)
            if keeper == self._keeper and self._keepers.length:
                return self._keepers.pause()
            self._keeper = keeper
            return self._keepers.longer(_MOST_KEEPERS, _LONG_FOR_KEEPERS)
