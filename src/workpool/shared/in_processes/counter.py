"""A counter in shared memory: a lock, and one cell of 64 bits.

The cell is aligned and written by one store, so a reader without the lock, and
the next one after a kill, see the old number or the new one. A kill before the
store: not counted. After it: counted, though the caller never heard. There is
nothing else to repair, so nobody asks whether an owner died.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workpool.ipc import memory
from workpool.ipc.robust_lock import LOCK_SIZE, RobustLock

if TYPE_CHECKING:
    from workpool.ipc.memory import Region

__all__ = ["ProcessCounter"]


class ProcessCounter:
    """A number in a region.

    Parameters
    ----------
    region : Region
        Where it lies; made by `make`.
    """

    __slots__ = ("_cell", "_give", "_lock", "_region", "_take")

    def __init__(self, region: Region) -> None:
        self._region = region
        self._lock = RobustLock(region)  # guards _cell
        self._take = self._lock.take
        self._give = self._lock.give
        self._cell = region.view[LOCK_SIZE : LOCK_SIZE + 8].cast("q")

    @classmethod
    def make(cls, initial: int) -> ProcessCounter:
        """Make one with a first value."""
        region = memory.allocate(LOCK_SIZE + 8)
        RobustLock.create(region)
        home = cls(region)
        home._cell[0] = initial
        return home

    def __reduce__(self) -> tuple[object, ...]:
        return ProcessCounter, (self._region,)

    def add(self, n: int) -> int:
        """Add, and return the sum."""
        # The lock's fast way, as its class describes it; all of a count's cost is here.
        code = 0
        try:
            code = self._take()
            if code:
                code = self._lock.settle(code)
            cell = self._cell
            cell[0] = new = cell[0] + n
        except BaseException:
            self._lock.undo(code)
            raise
        if code:
            self._lock.undo(code)
        else:
            self._give()
        return new

    def get(self) -> int:
        """Return the value."""
        # One load, whole; taking turns for it would make it no newer.
        return self._cell[0]

    def compare_and_set(self, expected: int, new: int) -> bool:
        """Set to `new` if it is `expected`."""
        code = 0
        try:
            code = self._take()
            if code:
                code = self._lock.settle(code)
            same = self._cell[0] == expected
            if same:
                self._cell[0] = new
        except BaseException:
            self._lock.undo(code)
            raise
        if code:
            self._lock.undo(code)
        else:
            self._give()
        return same
