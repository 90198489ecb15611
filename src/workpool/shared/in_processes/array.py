"""An array in shared memory: a block of its own for the numbers, and a lock beside it in the arena."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workpool.ipc import block, memory
from workpool.ipc.robust_lock import LOCK_SIZE, RobustLock

if TYPE_CHECKING:
    from workpool.ipc.block import Block
    from workpool.ipc.memory import Region

__all__ = ["ProcessArray"]


class ProcessArray:
    """Numbers in a block, and a lock in a region.

    Parameters
    ----------
    numbers : Block or Region
        Where the numbers lie.
    region : Region
        Where the lock lies; made by `make`.
    dtype, shape : str, tuple of int
        What the numbers are.
    """

    __slots__ = (
        "_lock",
        "_numbers",
        "_region",
        "acquire",
        "dtype",
        "leave",
        "memory",
        "release",
        "shape",
    )

    def __init__(
        self, numbers: Block | Region, region: Region, dtype: str, shape: tuple[int, ...]
    ) -> None:
        self._numbers = numbers
        self._region = region
        self._lock = RobustLock(region)  # for who asks for it
        self.memory = numbers.view
        self.dtype = dtype
        self.shape = shape
        self.acquire = self._lock.acquire
        self.release = self._lock.release
        self.leave = self._lock.leave

    @classmethod
    def make(cls, size: int, dtype: str, shape: tuple[int, ...]) -> ProcessArray:
        """Make one of zeros."""
        numbers = block.make(size)
        region = memory.allocate(LOCK_SIZE)
        RobustLock.create(region)
        return cls(numbers, region, dtype, shape)

    def __reduce__(self) -> tuple[object, ...]:
        return ProcessArray, (self._numbers, self._region, self.dtype, self.shape)

    @property
    def owner_died(self) -> bool:
        """Whether the last owner of the lock died as owner."""
        return self._lock.owner_died
