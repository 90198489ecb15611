"""How long a call of a function takes, as measured so far; what sizes chunks.

Estimates are kept by the identity of the function's code, as numbers only, so
that no function is kept alive. A stale identity costs one badly sized chunk,
which the means against slow neighbours (chunks are taken back) make harmless.

Calls are made with the scheduler's lock held, which guards the table.
"""

from __future__ import annotations

from types import BuiltinFunctionType, FunctionType
from typing import Any

from workpool.naming import plain_function

__all__ = ["MOST_TOGETHER", "TARGET", "Pace", "together"]

# Seconds of work that travel together: far above the cost of a trip, short to wait for.
TARGET = 0.01
MOST_TOGETHER = 16_384  # items, however short they are: bounds the memory of one trip
_MOST_KNOWN = 512  # functions


class Pace:
    """Measured seconds per call, by function."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, float] = {}

    def of(self, fn: object) -> float | None:
        """Give the estimate for one call, or None when the function was never measured."""
        return self._known.get(_identity(fn))

    def measured(self, fn: object, seconds: float, calls: int) -> None:
        """Take in that so many calls took so long together."""
        key = _identity(fn)
        known = self._known
        before = known.get(key)
        one = seconds / calls
        if before is None:
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[key] = one
        elif one > before:
            # Longer than thought counts at once: what travels with a long call waits for it.
            known[key] = (before + one) / 2 if calls > 1 else (3 * before + one) / 4
        else:
            known[key] = (before + one) / 2


def together(seconds: float | None, available: int, workers: int) -> int:
    """Say how many calls go on one trip, so that it is worth it and no worker runs dry early.

    Each trip takes at most a share of what is left (guided self-scheduling,
    Polychronopoulos and Kuck 1987), so that all workers end at the same time.
    """
    if seconds is None:
        return 1
    by_time = TARGET / seconds if seconds * MOST_TOGETHER > TARGET else MOST_TOGETHER
    by_share = -(-available // (2 * workers))
    return max(1, min(int(by_time), by_share, MOST_TOGETHER))


def _identity(fn: Any) -> int:
    if type(fn) is FunctionType:  # what nearly all are
        return id(fn.__code__)
    if type(fn) is BuiltinFunctionType:
        return id(fn)
    fn = plain_function(fn)
    return id(fn.__code__ if type(fn) is FunctionType else fn)
