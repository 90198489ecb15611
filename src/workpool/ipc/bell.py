"""A bell: those who wait for one thing sleep until it rings, or for a moment at most.

Nobody falls asleep between a change and the ring for it: who is about to sleep
enlists with a lock held, and looks once more when it has given up the lock; the
other side changes, gives up its own lock, looks whether anyone is `awaited`, and
rings with the first lock held. (To give up a lock makes sure that others see
what was done before one looks at what they did.)

What a kill leaves behind: who changed something and died before the ring leaves
sleepers behind. So no sleep is longer than `LOOK`; the sleeper looks then.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from workpool.errors import WouldDeadlock
from workpool.ipc.futex import Word
from workpool.ipc.robust_lock import locked
from workpool.ipc.shortage import is_shortage

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.ipc.memory import Region
    from workpool.ipc.robust_lock import RobustLock

__all__ = ["BELL_SIZE", "LOOK", "Bell", "told"]

BELL_SIZE: Final = 64  # bytes of the region that a bell takes: a cache line
LOOK: Final = 0.2  # seconds; the longest anyone sleeps without looking


class Bell:
    """A word to sleep on, and whether anyone may be asleep.

    All but `wait` is called with the lock held that those who wait have taken:
    for the head, or for putters the tail. Who enlists looks once more before it
    waits; the other side acts and then looks whether anyone is `awaited`.
    """

    def __init__(self, region: Region, offset: int) -> None:
        self._word = Word(region, offset)
        self.awaited = region.view[offset + 4 : offset + 8].cast("I")

    def enlist(self) -> int:
        """Say that we are about to sleep; `wait` wants what this returns."""
        self.awaited[0] = 1
        return self._word.value

    def wait(self, seen: int, deadline: float | None) -> None:
        """Sleep until the bell rings, or the time is up, or it is time to look."""
        left = LOOK if deadline is None else min(LOOK, deadline - monotonic())
        if left > 0:
            self._word.wait(seen, left)

    def ring(self) -> None:
        """Wake one."""
        self._word.value += 1
        if not self._word.wake(1):
            # No one slept. Who is about to will see the word changed, and enlist again.
            self.awaited[0] = 0

    def ring_all(self) -> None:
        """Wake everyone."""
        self._word.value += 1
        self._word.wake()
        self.awaited[0] = 0


def told(lock: RobustLock, ring: Callable[[], object]) -> None:
    """Ring with the lock held; where that cannot be, those who sleep look for themselves.

    So a call that has done its work does not fail for it: because there is no memory to look at things,
    or because this very thread has that lock, and a finalizer calls in the middle.
    """
    try:
        locked(lock, ring)
    except WouldDeadlock:
        pass
    except (OSError, MemoryError) as error:
        if not is_shortage(error):
            raise
