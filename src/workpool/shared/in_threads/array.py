"""An array for the threads of one process: bytes, and a lock."""

from __future__ import annotations

import errno

from workpool.shared.home import StaysInProcess
from workpool.shared.in_threads.lock import ThreadLock

__all__ = ["ThreadArray"]


class ThreadArray(StaysInProcess):
    """Bytes that end with the last view of them."""

    __slots__ = ("_lock", "dtype", "memory", "shape")

    def __init__(self, size: int, dtype: str, shape: tuple[int, ...]) -> None:
        try:
            self.memory = memoryview(bytearray(size))
        except MemoryError as error:
            message = f"no room for {size} more bytes of memory"
            raise OSError(errno.ENOMEM, message) from error
        self.dtype = dtype
        self.shape = shape
        self._lock = (
            ThreadLock()
        )  # for who asks for it; single numbers are read and written without

    @property
    def owner_died(self) -> bool:
        """Whether the last owner of the lock ended as owner."""
        return self._lock.owner_died

    def acquire(self, timeout: float | None) -> bool:
        """Own the lock: ``None`` waits for ever."""
        return self._lock.acquire(timeout)

    def release(self) -> None:
        """Let the next one have the lock."""
        self._lock.release()

    def leave(self) -> None:
        """Release the lock if this thread owns it."""
        self._lock.leave()
