"""An event in shared memory: a word that is odd while the flag is up.

The word counts the changes, so that who waits sees a flag that was up for a
moment only. Setting and clearing take turns; looking does not.

A kill before the store: nothing happened. Between the store and the wake: the
flag is up, and those who sleep see it when they look again, a fraction of a
second later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workpool.ipc import memory
from workpool.ipc.futex import Word
from workpool.ipc.robust_lock import LOCK_SIZE, RobustLock, locked

if TYPE_CHECKING:
    from workpool.ipc.memory import Region

__all__ = ["ProcessEvent"]


class ProcessEvent:
    """A flag in a region.

    Parameters
    ----------
    region : Region
        Where it lies; made by `make`.
    """

    __slots__ = ("_lock", "_region", "_word")

    def __init__(self, region: Region) -> None:
        self._region = region
        self._lock = RobustLock(region)  # guards changes of _word
        self._word = Word(region, LOCK_SIZE)

    @classmethod
    def make(cls) -> ProcessEvent:
        """Make one, with the flag down."""
        region = memory.allocate(LOCK_SIZE + 4)
        RobustLock.create(region)
        return cls(region)

    def __reduce__(self) -> tuple[object, ...]:
        return ProcessEvent, (self._region,)

    def is_set(self) -> bool:
        """Tell whether the flag is up."""
        return self._word.value % 2 == 1

    def set(self) -> None:
        """Put the flag up, and wake all who wait."""
        self._change(up=True)
        self._word.wake()

    def clear(self) -> None:
        """Take the flag down."""
        self._change(up=False)

    def wait(self, timeout: float | None) -> bool:
        """Wait until the flag is up."""
        seen = self._word.value
        return seen % 2 == 1 or self._word.wait(seen, timeout)

    def _change(self, *, up: bool) -> None:
        def act() -> None:
            if self.is_set() is not up:
                self._word.value += 1

        locked(self._lock, act)
