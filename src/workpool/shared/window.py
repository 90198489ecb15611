"""When the last calls were: what a rate limit is decided by, wherever its numbers lie.

The promise is "at most so many in any so many seconds", for every window and not only for
those that begin with a minute. So the moments of the last ``calls`` calls are kept, in a
ring, and another is allowed when the oldest of them is a whole period ago. (Leaky and
token buckets keep one number instead of many, and let through up to twice as
many within one period.)

Moments are nanoseconds of the monotonic clock, which all processes of a machine
share; whole numbers, so that nothing is lost to rounding. Whoever calls here holds a lock.

What a kill leaves behind, in the two stores of ``take``: before the first, nothing.
Between them the place of the newest call holds an old moment: one call that never
was is not counted, which is right, since who was killed there never heard of it.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import Final, Protocol

__all__ = ["LONGEST", "NEVER", "Window", "clock"]

NEVER: Final = -(1 << 62)  # a moment before all others, and before any period
LONGEST: Final = 1e9  # seconds of a period at most, thirty years
clock = monotonic_ns  # tests lie about the time here


class Cells(Protocol):
    """Numbers in a row: an array, or shared memory."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...


class Window:
    """The moments of the last calls.

    Parameters
    ----------
    moments : sequence of int
        As many as calls are allowed; all ``NEVER`` at first.
    oldest : sequence of int
        One number: where the oldest of them is.
    period : int, nanoseconds
        How long a call counts.
    """

    __slots__ = ("_moments", "_oldest", "_period")

    def __init__(self, moments: Cells, oldest: Cells, period: int) -> None:
        self._moments = moments
        self._oldest = oldest
        self._period = period

    def take(self) -> int:
        """Count a call, if one is allowed now; else give the nanoseconds until then."""
        at = self._oldest[0]
        now = clock()
        early = self._moments[at] + self._period - now
        if early > 0:
            return early
        self._oldest[0] = (at + 1) % len(self._moments)
        self._moments[at] = now
        return 0

    def free(self) -> int:
        """Say how many calls are allowed now."""
        since = clock() - self._period
        return sum(self._moments[at] <= since for at in range(len(self._moments)))
