"""A rate limit as the place keeps it: the moments of the last calls, and a line of waiters."""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from workpool.shared.window import NEVER, Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.shared.in_engines.waiters import Owner

__all__ = ["RateLimit"]


class RateLimit:
    """Only the first of the line looks at the clock; whoever leaves the line wakes the next."""

    def __init__(self, calls: int, period: int) -> None:
        self._window = Window(array("q", [NEVER]) * calls, array("q", [0]), period)
        self._line: deque[_Waiter] = deque()

    async def on_acquire(self, owner: Owner, timeout: float | None) -> bool:
        """Wait until a call is allowed, and count it."""
        deadline = None if timeout is None else monotonic() + timeout
        me = _Waiter(owner)
        self._line.append(me)
        try:
            while not me.gone:
                early = float("inf")
                if self._line[0] is me:
                    early = self._window.take() / 1e9
                    if not early:
                        return True
                left = float("inf") if deadline is None else deadline - monotonic()
                if left <= 0:
                    return False
                me.called.clear()
                await _sleep(me.called, min(left, early))
            return False
        finally:
            self._line.remove(me)
            if self._line:
                self._line[0].called.set()

    def on_free(self, owner: Owner) -> int:
        """Say how many calls are allowed now."""
        del owner
        return self._window.free()

    def on_undo(self, owner: Owner) -> None:
        """Have who was interrupted leave the line; a call that was let through counts."""
        self._dismiss(lambda waiting: waiting == owner)

    def ended(self, life: str) -> None:
        """Have those of that life leave the line."""
        self._dismiss(lambda waiting: waiting[0] == life)

    def _dismiss(self, gone: Callable[[Owner], bool]) -> None:
        for waiter in self._line:
            if gone(waiter.owner):
                waiter.gone = True
                waiter.called.set()


class _Waiter:
    """One in the line."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.gone = False  # nobody waits for the answer any more
        self.called = asyncio.Event()


async def _sleep(called: asyncio.Event, seconds: float) -> None:
    """Sleep so long at most, or until called."""
    waiting = asyncio.ensure_future(called.wait())
    await asyncio.wait([waiting], timeout=None if seconds == float("inf") else seconds)
    waiting.cancel()
