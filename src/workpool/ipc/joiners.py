"""The bell of those who join a queue: it rings when all is done."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from workpool.ipc.bell import Bell, told

if TYPE_CHECKING:
    from workpool.ipc.memory import Region
    from workpool.ipc.robust_lock import RobustLock
    from workpool.ipc.segments import Segments

__all__ = ["Joiners"]

#: Seconds for which a record that was found not done spares another search.
SPARED: Final = 0.05


class Joiners(Bell):
    """The bell, and what is to be known before it rings.

    To search for what is not done takes the longer, the more there is. So one thing that was
    found is remembered, the youngest, which will be among the last: as long as it is not done,
    neither is all. Its segment may be used for others when it is done; so it is not believed
    for long. Should all be done just then, those who join find it when they look.
    """

    def __init__(self, region: Region, offset: int, lock: RobustLock, segments: Segments) -> None:
        super().__init__(region, offset)
        self._lock = lock  # of the head
        self._segments = segments
        self._undone: tuple[memoryview[int], int, float] | None = None

    def look(self) -> None:
        """Ring, if nothing is queued, and what was taken is done."""
        if self._undone is not None:
            places, place, until = self._undone
            if places[place] and monotonic() < until:
                return
        told(self._lock, self._search)

    def _search(self) -> None:
        """Look at all that was taken; the lock is held."""
        newest = self._segments.newest()
        if newest is not None:
            self._undone = (*newest, monotonic() + SPARED)
        elif self._segments.empty():
            self._undone = None
            self.ring_all()
