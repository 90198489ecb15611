"""Records in shared memory, first in, first out, which stay until their taker has marked them done.

They lie in the segments of a `Chain`: written at its tail, taken at its head. A
taken record stays where it is, under its taker's number, until it is marked
done; a segment goes when it has no taken record left. So one item that is long
in hand keeps one segment, and no more.

A segment is a map of bytes, one for each cell of 16 bytes, which is 1 where a
taken record begins that is not done; and behind it the records.

Who may do what
    The tail (TAIL, WRITTEN) is for whoever holds the queue's tail lock, and `append` needs no more. The
    head, the chain and all else is for the holder of its head lock; `prepare` and `close` need both. A
    taker reads what it took, and marks it done, without a lock, whenever it likes; nobody else touches
    a taken record while its taker lives.

    Who maps a segment remembers its bounds, and they may have changed since. So READ and WRITTEN say which
    bounds the head's and the tail's segment have, as long as the head, or tail, lies between them; else
    one asks the chain.

    Two locks where one core sees what another writes in the order it was
    written: a taker sees TAIL moved, and so the record. Elsewhere both are one.

What a kill leaves behind: each change is committed by one aligned store of
eight bytes, and what was written before it is out of reach until then.
    `append`: the record, then TAIL. Before TAIL: free room behind the last record.
    `take`: READ if the segment is another one, the taker's number, the byte in
    the map, then HEAD. Before HEAD: a queued record; what says otherwise is not
    looked at, and written again.
    Done: one store, of a byte.
    `put_back`: one store, of HEAD or of the taker's number.
    `hand_over`: the new taker's process id, then its number. Before the number:
    the record is the dead one's still, for the number alone tells whose it is; the
    process id is for people.
    `prepare`: a segment at the end of the chain, a jump behind the last record, WRITTEN, then TAIL. Before
    TAIL: a jump that no one comes to, and that the next record is written over.

What an exception leaves behind (there is no memory, or Ctrl-C strikes) is what a
kill at that line does, with one thing more: who takes a record notes it, too. Both
are done, or none is: `take` and `hand_over` undo what they have begun.

HEAD and TAIL hold a count and a position together, so that both change at once:
how many were ever taken, or put, modulo 2**33, and below it a cell in 31 bits.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from workpool._compat import ShutDown
from workpool.ipc import lives
from workpool.ipc.chain import CELL, CELLS, CHAIN_WORDS, Chain, Segment
from workpool.ipc.taken import AT, HEAD, SIZE, SIZE_BITS, SPARED, Taken

if TYPE_CHECKING:
    from collections import deque

    from workpool.ipc.memory import Region
    from workpool.ipc.taken import Mark

__all__ = ["BASE_SIZE", "DISCARDED", "RESERVE", "Segments"]

BASE_SIZE: Final = 128  # bytes of the region for the words below
RESERVE: Final = 1 << 35  # bytes of address space behind it; positions end there

# Words. What takers write lies in one cache line, what putters write in the next, before the chain's.
_READ, _HEAD, _CLOSED, _SPARED = 0, HEAD, 2, SPARED
_TAIL, _WRITTEN, _CHAIN = range(8, 11)

DISCARDED: Final = 2  # says CLOSED where what was queued is for nobody
_ONE: Final = 1 << 31  # counts one
_AT: Final = AT
_ALL: Final = (1 << 64) - 1
_COUNTS: Final = _ALL >> 31

_MAP_CELLS: Final = CELLS // CELL  # cells of the map, for each unit of a segment

_SIZE_BITS: Final = SIZE_BITS
_SIZE: Final = SIZE
_JUMP: Final = _SIZE  # no record: go on in the next segment
# Native sizes: each word is read and written whole.
_read_two, _write_two = struct.Struct("QQ").unpack_from, struct.Struct("QQ").pack_into


class Segments(Taken):
    """The records; see the module's text.

    Parameters
    ----------
    region : Region
        Has room for the words at `offset`, and a reserve.
    offset : int
        A multiple of 8.
    fresh : bool
        Make them, in zeroed memory; else they were made by someone.
    """

    def __init__(self, region: Region, offset: int, *, fresh: bool = False) -> None:
        self._base = region.view[offset : offset + BASE_SIZE]
        self._words = words = self._base.cast("Q")
        self._chain = Chain(region, words[_CHAIN : _CHAIN + CHAIN_WORDS], fresh=fresh)
        if fresh:
            first = self._chain.oldest()
            words[_HEAD] = words[_TAIL] = _first_record(first)
            words[_READ] = words[_WRITTEN] = first.bounds
        # Where we read and wrote last, and what READ and WRITTEN said.
        self._reading = self._writing = Segment(0, 0, region.view)
        self._reading_words = words  # those of the segment that is read
        self._read = self._written = -1
        # Where our last `take` left HEAD, and what TAIL was then, or before. While nobody else takes, what lies
        # between the two is there, and the line that the putters write is not asked for.
        self._left: int = -1
        self._tail: int = -1

    # ---------------------------------------------------------------- in and out

    def queued(self) -> int:
        """Count the records that were not taken; may be asked without a lock."""
        words = self._words
        while True:
            head = words[_HEAD]
            count = ((words[_TAIL] >> 31) - (head >> 31)) & _COUNTS
            if words[_HEAD] == head:  # else the two do not belong together
                return count

    def empty(self) -> bool:
        """Tell whether all records were taken; may be asked without a lock."""
        words = self._words
        return bool((words[_HEAD] ^ words[_TAIL]) < _ONE)

    def append(self, payload: bytes) -> bool:
        """Write a record at the tail; False: call `prepare` first."""
        tail, written = _read_two(self._base, _TAIL * 8)
        cell = tail & _AT
        size = len(payload)
        cells = (size + 31) >> 4  # with the header
        start, end, memory = self._writing
        # One cell stays free, for the jump.
        if written != self._written or not start <= cell < end - cells:
            return False
        begin = (cell - start) << 4
        _write_two(memory, begin, size, 0)
        begin += CELL
        memory[begin : begin + size] = payload
        self._words[_TAIL] = (tail + (cells + _ONE)) & _ALL
        return True

    def prepare(self, size: int) -> None:
        """See to it that a payload of that size can be appended; both ends are held.

        Raises
        ------
        ShutDown
            The queue is closed.
        OSError
            There is no memory for it; nothing changed.
        """
        if self.closed:
            raise ShutDown
        words = self._words
        cell = words[_TAIL] & _AT
        cells = (size + 31) >> 4
        segment = self._chain.find(cell, words[_WRITTEN])
        if cell >= segment.end - cells:
            self._tidy()
            # A sixteenth of a segment is map.
            last, segment = segment, self._extend(segment, (cells + 1) * CELL // (CELL - 1) + 1)
            segment.memory[: segment.end - segment.start] = bytes(segment.end - segment.start)
            _write_two(last.memory, (cell - last.start) << 4, _JUMP, 0)
            cell = _first_record(segment)
        self._writing = segment
        words[_WRITTEN] = self._written = segment.bounds
        words[_TAIL] = words[_TAIL] & ~_AT | cell

    def _extend(self, last: Segment, cells: int) -> Segment:
        try:
            return self._chain.extend(last, cells)
        except OSError as error:
            if error.errno is None:  # it was struck, as by the end of a time limit
                raise
            self.sweep()  # there may be segments that can go
        return self._chain.extend(last, cells)

    def take(self, number: int, pid: int, noted: deque[Mark]) -> memoryview[int] | None:
        """Take the record at the head, if there is one, in the name of a process, and note it.

        Raises
        ------
        OSError
            There is no memory to look at it; it is queued still.
        """
        head: int
        read, head = _read_two(self._base)
        tail = self._tail
        if head != self._left or head == tail:
            tail = self._tail = self._words[_TAIL]
            if head == tail:
                return None
        cell = head & _AT
        start, end, memory = self._reading
        if read != self._read or not start <= cell < end:
            start, end, memory = self._read_in(self._chain.find(cell, read))
        place = cell - start
        size = self._reading_words[place << 1] & _SIZE
        crossed = size == _JUMP
        while size == _JUMP:  # there are two in a row where a putter was killed in between
            if (head ^ tail) < _ONE:
                tail = self._tail = self._words[_TAIL]
                if (head ^ tail) < _ONE:
                    return None  # the tail is ahead of its next record
            start, end, memory = self._read_in(self._chain.behind(self._reading))
            head += _first_record(self._reading) - cell
            cell = head & _AT
            place = cell - start
            size = self._reading_words[place << 1] & _SIZE
        begin = place << 4
        _write_two(memory, begin, pid << _SIZE_BITS | size, number)
        memory[place] = 1
        begin += CELL
        payload, mark = memory[begin : begin + size], (memory, place, 0)
        moved = (head + (((size + 31) >> 4) + _ONE)) & _ALL
        try:
            self._words[_HEAD] = moved
            noted.append(mark)
            if crossed:
                self._tidy()
        except BaseException:
            # Nobody was told. The head is held, so no one took the next one; and it has crossed.
            if noted and noted[-1] is mark:
                noted.pop()
            self._words[_HEAD] = head
            raise
        self._left = moved
        return payload

    def put_back(self, noted: deque[Mark]) -> None:
        """Give up what was taken last of those noted: it is the next to be taken, or else as if its taker had died."""
        if not noted:
            return
        memory, place, _ = noted[-1]
        words = memory[place << 4 : (place << 4) + CELL].cast("Q")
        cells = ((words[0] & _SIZE) + 31) >> 4
        head = self._words[_HEAD]
        # The last step takes it off the list: nothing can strike between the two.
        if memory is self._reading.memory and head & _AT == self._reading.start + place + cells:
            self._words[_HEAD] = (head - (cells + _ONE)) & _ALL
            noted.pop()
        else:
            self.abandon(noted)

    @staticmethod
    def abandon(noted: deque[Mark]) -> None:
        """Give up what was taken last of those noted, as if its taker had died."""
        memory, place, _ = noted[-1]
        memory.cast("Q")[(place << 1) + 1] = lives.NOBODY
        noted.pop()

    def _read_in(self, segment: Segment) -> Segment:
        """Take from that segment from now on."""
        self._reading, self._reading_words = segment, segment.memory.cast("Q")
        self._words[_READ] = self._read = segment.bounds
        return segment

    def close(self) -> None:
        """Let nothing be put any more, for good; both ends are held."""
        # In this order: the first alone means nothing, and is mended by the next `prepare`.
        self._words[_WRITTEN] = 0  # sends every `append` to where it looks whether we are closed
        self._words[_CLOSED] = self._words[_CLOSED] or 1  # what was thrown away stays so

    @property
    def closed(self) -> int:
        """Whether `close` was called, or even `discard`: `DISCARDED`; may be asked without a lock."""
        return self._words[_CLOSED]

    def discard(self) -> None:
        """Pass over what is queued, as if it were done; both ends are held."""
        words = self._words
        words[_CLOSED] = DISCARDED
        if self.empty():
            return
        cell = words[_HEAD] & _AT
        segment = self._chain.find(cell, words[_READ])
        while _read_two(segment.memory, (cell - segment.start) << 4)[0] & _SIZE == _JUMP:
            segment = self._chain.behind(segment)
            cell = _first_record(segment)
        # A taker may have been killed before it moved on; from now on this byte would mean something.
        segment.memory[cell - segment.start] = 0
        words[_HEAD] = words[_TAIL]
        words[_SPARED] = 0
        self._tidy()


def _first_record(segment: Segment) -> int:
    """Tell the cell where a segment's records begin: behind its map."""
    return segment.start + (segment.end - segment.start) // CELLS * _MAP_CELLS
