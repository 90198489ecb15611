"""Records in shared memory, first in, first out, which stay until their taker has marked them done.

A chain of segments. Records are written at its tail and taken at its head; a
taken record stays where it is, under its taker's number, until it is marked
done; a segment goes when it has no taken record left. So one item that is long
in hand keeps one segment, and no more.

A segment is a map of bytes, one for each cell of 16 bytes, which is 1 where a
taken record begins that is not done; and behind it the records.

Who may do what
    The tail (TAIL, WRITTEN) is for whoever holds the queue's tail lock, and
    `append` needs no more. The head, the chain and all else is for the holder of
    its head lock; `prepare` and `close` need both. A taker reads what it took,
    and marks it done, without a lock, whenever it likes; nobody else touches a
    taken record while its taker lives.

Two locks where one core sees what another writes in the order it was written:
a taker sees TAIL moved, and so the record. On other machines both are one.

What a kill leaves behind: each change is committed by one aligned store of
eight bytes, and what was written before it is out of reach until then.
    `append`: the record, then TAIL. Before TAIL: free room behind the last record.
    `take`: the taker's number, the byte in the map, then HEAD. Before HEAD: a
    queued record; what says otherwise is not looked at, and written again.
    Done: one store, of a byte.
    A new segment: its entry, a jump at the end of the old one, the link, then
    TAIL. Before TAIL: room that is in no chain, which is what free means; the
    next one finds the jump in the way and writes over it. WRITTEN comes last and
    only says whether what one has mapped is still the place to write.
    A segment that goes: one store takes it out of the chain.

HEAD and TAIL hold a count and a position together, so that both change at once:
how many were ever taken, or put, modulo 2**33, and below it the number of a cell
(of 16 bytes) in 31 bits.
"""

from __future__ import annotations

import errno
import struct
import sys
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from workpool._compat import ShutDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.ipc.memory import Region

__all__ = ["BASE_SIZE", "RESERVE", "Record", "Segments"]

BASE_SIZE: Final = 64  # bytes of the region for the words below
RESERVE: Final = 1 << 35  # bytes of address space behind it; positions end there

# Words. _WRITTEN: the segment of the tail, or 0 once nothing may be put any more. _OLDEST, _WARM:
# first units of the first segment, and of a free one that keeps its memory.
_HEAD, _TAIL, _WRITTEN, _OLDEST, _WARM, _CLOSED = range(6)

_ONE: Final = 1 << 31  # counts one
_AT: Final = _ONE - 1  # the cell's part of the word
_ALL: Final = (1 << 64) - 1
_COUNTS: Final = _ALL >> 31
_TWO_WORDS: Final = struct.Struct("QQ")  # native: each is read and written whole
_read_two, _write_two = _TWO_WORDS.unpack_from, _TWO_WORDS.pack_into

_CELL: Final = 16  # bytes; a record is one cell of header and its payload in whole cells
_UNIT: Final = 1 << 16  # bytes; segments are whole units
_CELLS: Final = _UNIT // _CELL  # cells of a unit
_MAP_CELLS: Final = _CELLS // _CELL  # cells of the map, for each unit
_MOST_UNITS: Final = 16  # of a segment that is not for one large record

# A record's first word: its size and, once taken, the process id of its taker. Its second word:
# the taker's number.
_SIZE_BITS: Final = 40
_JUMP: Final = (1 << _SIZE_BITS) - 1  # no record: go on in the next segment
_SIZE: Final = _JUMP

# The directory at the begin of the reserve: a word for each unit, of which the one of a segment's
# first unit tells its length and the next segment.
_ENTRY: Final = 8
_PART: Final = 1 << 14  # bytes of directory that are mapped at once


#: A taken record: its payload, valid until it is done; the map of its segment, and its place in it.
Record: TypeAlias = "tuple[memoryview[int], memoryview[int], int]"


class _Segment(NamedTuple):
    """A segment as mapped here: its first and last cell, and its memory."""

    start: int
    end: int
    memory: memoryview[int]


class Segments:
    """The chain; see the module's text.

    Parameters
    ----------
    region : Region
        Has room for the words at `offset`, and a reserve.
    offset : int
        A multiple of 64.
    fresh : bool
        Make the chain, in zeroed memory; else it was made by someone.
    """

    def __init__(self, region: Region, offset: int, *, fresh: bool = False) -> None:
        self._region = region
        self._base = region.view[offset : offset + BASE_SIZE]
        self._words = self._base.cast("Q")
        self._parts: dict[int, memoryview[int]] = {}  # of the directory
        self._mapped: dict[int, _Segment] = {}  # by first unit
        self._units = region.spare[1] // _UNIT
        self._first = -(-self._units * _ENTRY // _UNIT)  # the units before hold the directory
        if fresh:
            self._lay_out()
        # Where we read and wrote last. What changed since is noticed by position.
        self._reading = self._writing = _Segment(0, 0, region.view)
        self._writing_is = -1

    def _lay_out(self) -> None:
        words = self._words
        self._map(self._first, 1, anew=True)
        self._enter(self._first, 1)
        words[_OLDEST] = self._first
        words[_WRITTEN] = self._first << 32 | 1
        words[_HEAD] = words[_TAIL] = self._first * _CELLS + _MAP_CELLS

    # ---------------------------------------------------------------- in and out

    def queued(self) -> int:
        """Count the records that were not taken; may be asked without a lock."""
        words = self._words
        while True:
            head = words[_HEAD]
            count = ((words[_TAIL] >> 31) - (head >> 31)) & _COUNTS
            if words[_HEAD] == head:  # else the two do not belong together
                return count

    def append(self, payload: bytes) -> bool:
        """Write a record at the tail; False: call `prepare` first."""
        tail, written = _read_two(self._base, _TAIL * 8)
        cell = tail & _AT
        size = len(payload)
        cells = (size + 31) >> 4  # with the header
        start, end, memory = self._writing
        # One cell stays free, for the jump.
        if not start <= cell < end - cells or written != self._writing_is:
            return False
        begin = (cell - start) << 4
        _write_two(memory, begin, size, 0)
        begin += _CELL
        memory[begin : begin + size] = payload
        self._words[_TAIL] = (tail + (cells + _ONE)) & _ALL
        return True

    def prepare(self, size: int) -> None:
        """See to it that a payload of that size can be appended; both ends are held.

        Raises
        ------
        ShutDown
            The chain is closed.
        OSError
            There is no memory for it; nothing changed.
        """
        if self.closed:
            raise ShutDown
        cell = self._words[_TAIL] & _AT
        cells = (size + 31) >> 4
        # Not by what _WRITTEN says: a kill may have come between naming a segment and going there.
        chain = self._chain(cell)
        unit, units = chain[-1]
        if cell >= (unit + units) * _CELLS - cells:
            self.sweep()
            unit, units = self._extend(cell, cells)
        self._writing = self._map(unit, units)
        self._words[_WRITTEN] = self._writing_is = unit << 32 | units

    def take(self, number: int, pid: int) -> Record | None:
        """Take the record at the head, if there is one, in the name of a process."""
        head: int
        head, tail = _read_two(self._base, _HEAD * 8)
        if head == tail:
            return None
        cell = head & _AT
        start, end, memory = self._reading
        if not start <= cell < end:
            start, end, memory = self._reading = self._locate(cell)
        place = cell - start
        size = _read_two(memory, place << 4)[0] & _SIZE
        crossed = size == _JUMP
        if crossed:
            if (head ^ tail) < _ONE:
                return None  # the tail is ahead of its next record
            start, end, memory = self._reading = self._next(cell)
            place = (end - start) // _CELL
            head += start + place - cell
            cell = start + place
            size = _read_two(memory, place << 4)[0] & _SIZE
        cells = (size + 31) >> 4
        if cell + cells > end:
            # What we had mapped is a part of what the segment is now.
            start, end, memory = self._reading = self._locate(cell)
            place = cell - start
        begin = place << 4
        _write_two(memory, begin, pid << _SIZE_BITS | size, number)
        memory[place] = 1
        self._words[_HEAD] = (head + (cells + _ONE)) & _ALL
        if crossed:
            self.sweep()
        begin += _CELL
        return memory[begin : begin + size], memory, place

    def close(self) -> None:
        """Let nothing be put any more, for good."""
        # In this order: the first alone means nothing, and is mended by the next `append`.
        self._words[_WRITTEN] = 0  # sends every `append` to where it looks whether we are closed
        self._words[_CLOSED] = 1

    @property
    def closed(self) -> bool:
        """Whether `close` was called; may be asked without the lock."""
        return self._words[_CLOSED] != 0

    def discard(self) -> None:
        """Pass over what is queued, as if it were done."""
        words = self._words
        if not self.queued():
            return
        cell = words[_HEAD] & _AT
        segment = self._locate(cell)
        if self._size_at(segment, cell) == _JUMP:
            segment = self._next(cell)
            cell = segment.start + (segment.end - segment.start) // _CELL
        # A taker may have been killed before it moved on; from now on this byte would mean something.
        segment.memory[cell - segment.start] = 0
        words[_HEAD] = words[_TAIL]
        self.sweep()

    # ---------------------------------------------------------------- the taken ones

    def sweep(self, see: Callable[[Record], None] | None = None) -> int:
        """Count the taken records that are not done, and let go of segments that have none."""
        words = self._words
        head = words[_HEAD] & _AT
        unit, before = words[_OLDEST], 0
        count = 0
        while True:
            entry, at = self._entry(unit)
            follower, units = entry[at] & 0xFFFFFFFF, entry[at] >> 32
            start, end, memory = self._map(unit, units)
            reached = start <= head < end
            # Up to the head: beyond it, a byte may be of a taker that was killed before it had taken.
            places = bytes(memory[: head - start if reached else end - start])
            found = places.count(1)
            if found and see is not None:
                self._see(memory, places, see)
            count += found
            if reached:
                return count
            if found:
                before = unit
            else:
                self._unlink(unit, units, before, follower)
            unit = follower

    def taker(self, record: Record) -> tuple[int, int] | None:
        """Tell which process has a taken record, by number and process id; None if it is done."""
        _, memory, place = record
        word, number = _read_two(memory, place << 4)
        return (number, word >> _SIZE_BITS) if memory[place] else None

    def hand_over(self, record: Record, number: int) -> None:
        """Give a record to another process; the one that has it must be dead."""
        _, memory, place = record
        begin = (place << 4) + 8
        memory[begin : begin + 8] = number.to_bytes(8, sys.byteorder)

    @staticmethod
    def _see(memory: memoryview[int], places: bytes, see: Callable[[Record], None]) -> None:
        place = places.find(1)
        while place >= 0:
            begin = (place << 4) + _CELL
            size = _read_two(memory, place << 4)[0] & _SIZE
            see((memory[begin : begin + size], memory, place))
            place = places.find(1, place + 1)

    # ---------------------------------------------------------------- segments

    def _extend(self, cell: int, cells: int) -> tuple[int, int]:
        """Go on in a new segment, with room for so many cells and a jump, behind that of `cell`."""
        words = self._words
        chain = self._chain(cell)
        regular = min(_MOST_UNITS, max(1, sum(units for _, units in chain) // 8))
        wanted = -(-(cells + 1) // (_CELLS - _MAP_CELLS))  # and a cell for the jump
        unit, units = self._allocate(max(regular, wanted), chain)
        self._enter(unit, units)
        old, old_units = chain[-1]
        last = self._map(old, old_units)
        _write_two(last.memory, (cell - last.start) << 4, _JUMP, 0)
        entry, at = self._entry(old)
        entry[at] = old_units << 32 | unit
        words[_TAIL] = words[_TAIL] & ~_AT | unit * _CELLS + units * _MAP_CELLS
        return unit, units

    def _allocate(self, units: int, chain: list[tuple[int, int]]) -> tuple[int, int]:
        """Find a free run of units, and put memory behind it."""
        words = self._words
        warm = words[_WARM]
        if warm:
            # A kill after this leaves a free run that keeps its memory until it is used again.
            words[_WARM] = 0
            entry, at = self._entry(warm)
            warm_units = entry[at] >> 32
            if warm_units >= units:
                return warm, warm_units
            self._region.trim(warm * _UNIT, warm_units * _UNIT)
        place = self._first
        for start, length in sorted(chain):
            if start - place >= units:
                break
            place = start + length
        if place + units > self._units:
            message = f"the queue is larger than {self._region.spare[1]} bytes"
            raise OSError(errno.ENOMEM, message)
        self._map(place, units, anew=True)
        return place, units

    def _unlink(self, unit: int, units: int, before: int, follower: int) -> None:
        """Take a segment out of the chain; `before` is the one in front of it, or 0."""
        words = self._words
        if before:
            entry, at = self._entry(before)
            entry[at] = entry[at] >> 32 << 32 | follower
        else:
            words[_OLDEST] = follower
        self._mapped.pop(unit, None)
        if words[_WARM] == 0 and units <= _MOST_UNITS:
            words[_WARM] = unit
        else:
            self._region.trim(unit * _UNIT, units * _UNIT)

    def _chain(self, cell: int) -> list[tuple[int, int]]:
        """List first unit and length of all segments, up to the one that `cell`, the tail, is in."""
        unit = self._words[_OLDEST]
        chain: list[tuple[int, int]] = []
        while True:
            entry, at = self._entry(unit)
            units = entry[at] >> 32
            chain.append((unit, units))
            # Not by "no next": a kill may have left a link to what never became a part.
            if unit * _CELLS <= cell < (unit + units) * _CELLS:
                return chain
            unit = entry[at] & 0xFFFFFFFF

    def _locate(self, cell: int) -> _Segment:
        """Find the segment that a cell is in."""
        return self._map(*self._chain(cell)[-1])

    def _next(self, cell: int) -> _Segment:
        """Find the segment behind the one that a cell is in."""
        entry, at = self._entry(self._chain(cell)[-1][0])
        unit = entry[at] & 0xFFFFFFFF
        entry, at = self._entry(unit)
        return self._map(unit, entry[at] >> 32)

    def _map(self, unit: int, units: int, *, anew: bool = False) -> _Segment:
        """Reach a segment's memory."""
        start, end = unit * _CELLS, (unit + units) * _CELLS
        known = None if anew else self._mapped.get(unit)
        if known is not None and known.end >= end:
            # Units may have been put together in another way since; the memory is the same.
            return known if known.end == end else known._replace(end=end)
        if len(self._mapped) >= 64:  # the system lets us have some ten thousand
            self._mapped.clear()
        view = self._region.open(unit * _UNIT, units * _UNIT)
        segment = self._mapped[unit] = _Segment(start, end, view)
        return segment

    @staticmethod
    def _size_at(segment: _Segment, cell: int) -> int:
        size: int = _read_two(segment.memory, (cell - segment.start) << 4)[0] & _SIZE
        return size

    def _enter(self, unit: int, units: int) -> None:
        """Write a segment's entry and map: it has no next one, and nothing in it is taken."""
        start, end, memory = self._map(unit, units)
        memory[: end - start] = bytes(end - start)
        entry, at = self._entry(unit)
        entry[at] = units << 32

    def _entry(self, unit: int) -> tuple[memoryview[int], int]:
        """Reach the directory's word about a segment: the words of a part, and which of them."""
        part, byte = divmod(unit * _ENTRY, _PART)
        words = self._parts.get(part)
        if words is None:
            words = self._parts[part] = self._region.open(part * _PART, _PART).cast("Q")
        return words, byte >> 3
