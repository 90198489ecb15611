"""Places in a file of memory: found, mapped, taken back.

Small pieces lie packed in *granules*, which a process maps whole and keeps, so
that a thousand counters cost one mapping. Large pieces have a mapping of their
own, as long as it is referenced. Reserves are mere addresses.

Only the file's maker finds places; so nothing here is shared with another
process, and a kill in the middle leaves nothing that anyone would meet. All of
it is called with the lock of `arenas` held, except `forget`.

A signal's handler, or a finalizer, may come by in the middle of any call, and find places of
its own. So addresses are taken before there is memory behind them, and between the look that
allows it and the step that takes them no call is made.
"""

from __future__ import annotations

from collections import deque

from workpool.ipc import nameless

__all__ = ["LINE", "Room", "round_up"]

LINE = 64  # pieces begin on a cache line, and are whole lines long
_GRANULE = 1 << 20
_STEP = 1 << 16  # granules are backed with memory so much at a time, not whole
_SMALL = _GRANULE // 4  # up to here a piece is packed into a granule


class Room:
    """The insides of one file.

    Parameters
    ----------
    fd : int
        The file.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._granules: dict[int, memoryview[int]] = {}  # mapped here, by first offset
        self._end = 0  # nothing beyond was ever handed out
        self._packed = self._backed = self._full = 0  # how far the last granule is which
        self._free: dict[int, list[int]] = {}  # offsets of small pieces taken back, by length
        # Filled by finalizers, which may run in the middle of anything: there, no lock is safe.
        self._forgotten: deque[tuple[int, int]] = deque()

    def find(self, length: int) -> int:
        """Find room for a piece of zeroed memory; its offset."""
        self._take_back()
        if length > _SMALL:
            return self._reserve_with_memory(length, length)
        again = self._free.get(length)
        if again:
            offset = again.pop()
            self.map(offset, length)[:] = bytes(length)
            return offset
        while True:
            offset = self._packed
            end = offset + length
            if end <= self._backed:
                self._packed = end
                return offset
            if end > self._full:
                first = self._reserve_with_memory(
                    _GRANULE, 1
                )  # only as long as its mapping will be
                self._packed = self._backed = first
                self._full = first + _GRANULE
            else:
                backed = self._backed
                nameless.grow(self._fd, backed, _STEP)
                if self._backed == backed:
                    self._backed = backed + _STEP

    def reserve(self, length: int) -> int:
        """Set addresses aside, without memory; the first of them."""
        offset = -(-self._end // _GRANULE) * _GRANULE
        self._end = offset + length
        return offset

    def _reserve_with_memory(self, length: int, backed: int) -> int:
        """Set addresses aside, with memory behind the last so many of them."""
        offset = self.reserve(length)
        try:
            nameless.grow(self._fd, offset + length - backed, backed)
        except BaseException:
            if self._end == offset + length:
                self._end = offset
            raise
        return offset

    def map(self, offset: int, length: int) -> memoryview[int]:
        """Map a piece that was found, here or by another process."""
        if length > _SMALL:
            return nameless.map_part(self._fd, offset, length)
        first = offset // _GRANULE * _GRANULE
        granule = self._granules.get(first)
        if granule is None:
            granule = self._granules[first] = nameless.map_part(self._fd, first, _GRANULE)
        return granule[offset - first : offset - first + length]

    def forget(self, offset: int, length: int) -> None:
        """Note that no one uses a piece any more; it is taken back when the next one is wanted."""
        self._forgotten.append((offset, length))

    def _take_back(self) -> None:
        while True:
            try:
                offset, length = self._forgotten.popleft()
            except IndexError:
                return
            if length > _SMALL:
                # The memory goes back, the addresses do not: there are 2**63 of them.
                nameless.release(self._fd, offset, length)
            else:
                self._free.setdefault(length, []).append(offset)


def round_up(number: int, unit: int) -> int:
    """Round up to a multiple of `unit`."""
    return -(-number // unit) * unit
