"""A value in shared memory: pickled into one of two buffers, and flipped.

One word says which buffer counts, and how long the pickle in it is. A change
writes the other buffer, then the word: one aligned store, which is the moment of
the change. A kill before it: the old value, and rubbish in a buffer that nobody
reads. After it: the new value. Only the owner of the lock reads or writes, so
nobody reads a buffer that is written again meanwhile.

Short pickles lie beside the lock; long ones in the region's reserve, half of
which belongs to each buffer, and which takes memory as far as it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from workpool.errors import NotPicklable, brief
from workpool.ipc import memory, pickling
from workpool.ipc.memory import SPARE_LIMIT
from workpool.ipc.robust_lock import LOCK_SIZE, RobustLock, locked
from workpool.ipc.strikes import struck

if TYPE_CHECKING:
    from workpool.ipc.memory import Region

__all__ = ["ProcessShared"]

T = TypeVar("T")

_SHORT: Final = 448  # longest pickle that lies beside the lock; with it, a region is a KiB
_HALF: Final = SPARE_LIMIT // 2
_STATE, _BACKED, _BUFFERS = LOCK_SIZE, LOCK_SIZE + 8, LOCK_SIZE + 24
_WORTH_TRIMMING: Final = 1 << 20  # bytes; less is kept for the next long value


class ProcessShared(Generic[T]):
    """A value in a region and its reserve.

    Parameters
    ----------
    region : Region
        Where it lies; made by `make`.
    """

    __slots__ = ("_backed", "_lock", "_long", "_region", "_short", "_state")

    def __init__(self, region: Region) -> None:
        self._region = region
        self._lock = RobustLock(region)  # guards all that follows
        # Length of the pickle, times two, plus the number of its buffer.
        self._state = region.view[_STATE : _STATE + 8].cast("Q")
        # How far each half of the reserve has memory: a hint for trimming, no more.
        self._backed = region.view[_BACKED : _BACKED + 16].cast("Q")
        self._short = (
            region.view[_BUFFERS : _BUFFERS + _SHORT],
            region.view[_BUFFERS + _SHORT : _BUFFERS + 2 * _SHORT],
        )
        self._long: list[memoryview[int] | None] = [None, None]  # as far as mapped here

    @classmethod
    def make(cls, value: T) -> ProcessShared[T]:
        """Make one with a first value."""
        data = _dump(value)
        region = memory.allocate(_BUFFERS + 2 * _SHORT, spare=SPARE_LIMIT)
        RobustLock.create(region)
        home = cls(region)
        home._write(data)
        return home

    def __reduce__(self) -> tuple[object, ...]:
        return ProcessShared, (self._region,)

    def get(self) -> T:
        """Return the value, once no one has it open."""
        value: T = _load(locked(self._lock, self._read))
        return value

    def set(self, value: T) -> None:
        """Replace the value, once no one has it open."""
        data = _dump(value)
        locked(self._lock, lambda: self._write(data))

    def open(self, timeout: float | None) -> T:
        """Lock it and return the value."""
        if not self._lock.acquire(timeout):
            message = f"another worker had the value open for all of {timeout} s"
            raise TimeoutError(message)
        try:
            value: T = _load(self._read())
        except BaseException:
            self._lock.release()
            raise
        return value

    def commit(self, value: T) -> None:
        """Replace the value that is open; if that fails, it stays."""
        self._write(_dump(value))

    def close(self) -> None:
        """Unlock it."""
        self._lock.release()

    def leave(self) -> None:
        """Unlock it if this thread has it open."""
        self._lock.leave()

    def _read(self) -> bytes:
        length, which = divmod(self._state[0], 2)
        return bytes(self._buffer(which, length)[:length])

    def _write(self, data: bytes) -> None:
        which = 1 - self._state[0] % 2
        buffer = self._buffer(which, len(data))
        if len(data) > _SHORT:
            self._backed[which] = len(buffer)
        buffer[: len(data)] = data
        reached("written")
        self._state[0] = len(data) * 2 + which
        reached("flipped")
        self._trim(len(data), which)

    def _buffer(self, which: int, length: int) -> memoryview[int]:
        """Find the buffer of that number that holds so much."""
        if length <= _SHORT:
            return self._short[which]
        buffer = self._long[which]
        if buffer is None or len(buffer) < length:
            if length > _HALF:
                message = f"a Shared holds at most {_HALF} bytes of pickle, not {length}"
                raise ValueError(message)
            # A little more than asked, so that a growing value is not mapped anew each time.
            step = max(1 << 16, 1 << (length.bit_length() - 3))
            buffer = self._region.open(which * _HALF, min(-(-length // step) * step, _HALF))
            self._long[which] = buffer
        return buffer

    def _trim(self, length: int, which: int) -> None:
        """Give back the memory of buffers that were much longer than what is held now."""
        for number in (0, 1):
            in_use = length if number == which and length > _SHORT else 0
            if self._backed[number] > max(_WORTH_TRIMMING, 4 * length) and not in_use:
                self._region.trim(number * _HALF, self._backed[number])
                self._backed[number] = 0
                self._long[number] = None


def reached(point: str) -> None:
    """Mark a point inside a change; tests stop or kill a process there."""


def _dump(value: Any) -> bytes:
    try:
        return pickling.dumps(value)
    except Exception as error:
        if struck(error, pickling.dumps, value):
            raise
        message = (
            f'a Shared with scope="process" cannot hold a {type(value).__name__} that cannot be pickled '
            f"({brief(error)}). Share the data it is made from."
        )
        raise NotPicklable(message, part="value") from error


def _load(data: bytes) -> Any:
    try:
        return pickling.loads(data)
    except Exception as error:
        if struck(error, pickling.loads, data):
            raise
        message = (
            f"the value of a Shared cannot be unpickled in this process ({brief(error)}). "
            "Its type must be importable here; what was shared stays as it is."
        )
        raise NotPicklable(message, part="value") from error
