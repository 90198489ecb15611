"""A rate limit in shared memory: a window of moments, a line of waiters, and a lock for both.

The lock is held for a look and no longer: who has to wait sleeps without it. Killed
with it: the window is as before or after the call (``window.py``), the line too (``line.py``).
"""

from __future__ import annotations

from array import array
from time import monotonic
from typing import TYPE_CHECKING, Final

from workpool.ipc import memory
from workpool.ipc.line import LINE_SIZE, Line
from workpool.ipc.robust_lock import LOCK_SIZE, RobustLock, locked
from workpool.shared.window import NEVER, Window

if TYPE_CHECKING:
    from workpool.ipc.memory import Region

__all__ = ["ProcessRateLimiter"]

_PERIOD: Final = LOCK_SIZE
_OLDEST: Final = LOCK_SIZE + 8
_LINE: Final = LOCK_SIZE + 16
_MOMENTS: Final = _LINE + LINE_SIZE
_FOR_EVER: Final = float("inf")


class ProcessRateLimiter:
    """A rate limit in a region.

    Parameters
    ----------
    region : Region
        Where it lies; made by `make`.
    """

    __slots__ = ("_line", "_lock", "_region", "_window", "calls", "period")

    def __init__(self, region: Region) -> None:
        self._region = region
        self._lock = RobustLock(region)  # guards all that follows
        moments = region.view[_MOMENTS:].cast("q")
        self.calls = len(moments)
        self.period = region.view[_PERIOD : _PERIOD + 8].cast("q")[0]
        oldest = region.view[_OLDEST : _OLDEST + 8].cast("q")
        self._window = Window(moments, oldest, self.period)
        self._line = Line(region, _LINE)

    @classmethod
    def make(cls, calls: int, period: int) -> ProcessRateLimiter:
        """Make one, with no calls made yet."""
        region = memory.allocate(_MOMENTS + 8 * calls)
        RobustLock.create(region)
        region.view[_PERIOD : _PERIOD + 8].cast("q")[0] = period
        region.view[_MOMENTS:].cast("q")[:] = memoryview(array("q", [NEVER]) * calls)
        return cls(region)

    def __reduce__(self) -> tuple[object, ...]:
        return ProcessRateLimiter, (self._region,)

    def acquire(self, timeout: float | None) -> bool:
        """Wait until a call is allowed, and count it: ``None`` waits for ever, 0 only tries."""
        deadline = None if timeout is None else monotonic() + timeout
        line = self._line
        place, ticket = -1, 0
        seen, early, left = 0, 0.0, 0.0

        def act() -> None:
            nonlocal early, left, place, seen, ticket
            first = line.first()
            ours = line.keeps(place, ticket)
            early = _FOR_EVER
            if first < 0 or (ours and first == place):
                early = self._window.take() / 1e9
                if not early:
                    return
            left = _FOR_EVER if deadline is None else deadline - monotonic()
            if left <= 0:
                return
            if not ours:
                place, ticket = line.join()
            seen = line.seen(place)

        try:
            while True:
                locked(self._lock, act)
                if not early:
                    return True
                if left <= 0:
                    return False
                line.sleep(place, seen, min(left, early))
        finally:
            if ticket:
                try:
                    self._leave(place, ticket)
                except BaseException:
                    self._leave(
                        place, ticket
                    )  # struck on the way out: nobody shall stand behind us
                    raise

    def free(self) -> int:
        """Say how many calls are allowed now."""
        return self._window.free()

    def _leave(self, place: int, ticket: int) -> None:
        """Make room in the line, and wake the next."""
        word = locked(self._lock, lambda: self._line.leave(place, ticket))
        if word is not None:
            word.wake()
