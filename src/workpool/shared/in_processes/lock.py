"""A lock in shared memory; all of it is `RobustLock`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workpool.ipc import memory
from workpool.ipc.robust_lock import LOCK_SIZE, RobustLock

if TYPE_CHECKING:
    from workpool.ipc.memory import Region

__all__ = ["ProcessLock"]


class ProcessLock:
    """A lock that is all of a region.

    Parameters
    ----------
    region : Region
        Where it lies; made by `make`.
    """

    __slots__ = ("_lock", "_region", "acquire", "leave", "locked", "release")

    def __init__(self, region: Region) -> None:
        self._region = region
        self._lock = RobustLock(region)
        self.acquire = self._lock.acquire
        self.release = self._lock.release
        self.leave = self._lock.leave
        self.locked = self._lock.locked

    @classmethod
    def make(cls) -> ProcessLock:
        """Make one, free."""
        region = memory.allocate(LOCK_SIZE)
        RobustLock.create(region)
        return cls(region)

    def __reduce__(self) -> tuple[object, ...]:
        return ProcessLock, (self._region,)

    @property
    def owner_died(self) -> bool:
        """Whether the one before the present owner died as owner."""
        return self._lock.owner_died
