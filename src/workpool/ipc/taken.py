"""The taken records of a queue that are not done: finding them, telling whose they are, and handing them over.

Everything here is called by the holder of the queue's head lock; see ``segments.py`` for what lies where.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeAlias

from workpool.ipc.chain import CELL
from workpool.ipc.shortage import is_shortage

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from workpool.ipc.chain import Chain

__all__ = [
    "AT",
    "HEAD",
    "OLDEST",
    "SIZE",
    "SIZE_BITS",
    "SPARED",
    "Mark",
    "Record",
    "Since",
    "Taken",
]

#: A taken record: its payload, valid until it is done; the map of its segment, and its place in it.
Record: TypeAlias = "tuple[memoryview[int], memoryview[int], int]"
#: What its taker notes: the arguments of the `operator.setitem` that marks it done.
Mark: TypeAlias = "tuple[memoryview[int], int, int]"
#: Where to go on: the first cell of a segment, and a place in it.
Since: TypeAlias = "tuple[int, int]"
OLDEST: Final = (0, 0)  # no segment begins there

# Two of the words that takers write. SPARED: how many more segments are begun, at one end or the other, before the
# next look which of them can go.
HEAD, SPARED = 1, 3
AT: Final = (1 << 31) - 1  # the cell's part of HEAD

# A record's header, one cell: its size and, once taken, the process id of its taker; and the taker's number.
SIZE_BITS: Final = 40
SIZE: Final = (1 << SIZE_BITS) - 1
_read_two = struct.Struct("QQ").unpack_from  # native sizes: each word is read whole


class Taken:
    """The part of `Segments` that looks after what was taken."""

    _words: memoryview[int]
    _chain: Chain

    def sweep(self, look: Callable[[memoryview[int], bytes], None] | None = None) -> int:
        """Count the taken records that are not done, and let go of segments that have none.

        Where there are some, ``look`` is shown the segment's memory, and the map as far as it counts.
        """
        head = self._words[HEAD] & AT
        segment, before = self._chain.oldest(), None
        count = kept = 0
        while True:
            start, end, memory = segment
            reached = start <= head < end
            # Up to the head: beyond it, a byte may be of a taker that was killed before it had taken.
            places = bytes(memory[: head - start if reached else end - start])
            found = places.count(1)
            count += found
            if found and look is not None:
                look(memory, places)
            if reached:
                # The more there are to look at, the less often: so each segment costs the same.
                self._words[SPARED] = kept // 2
                return count
            follower = self._chain.behind(segment)
            if found:
                before = segment
                kept += 1
            else:
                self._chain.unlink(segment, before)
            segment = follower

    def _tidy(self) -> None:
        """Let go of segments that have no taken record, now and then; without memory to look, another time."""
        if self._words[SPARED]:
            self._words[SPARED] -= 1
            return
        try:
            self.sweep()
        except (OSError, MemoryError) as error:
            if not is_shortage(error):
                raise

    def taken(self) -> list[Record]:
        """List the taken records that are not done, oldest first."""
        found: list[Record] = []

        def look(memory: memoryview[int], places: bytes) -> None:
            place = -1
            while (place := places.find(1, place + 1)) >= 0:
                found.append(_record(memory, place))

        self.sweep(look)
        return found

    def first(
        self, wanted: Callable[[Record], object], since: Since
    ) -> tuple[Record, Since] | None:
        """Find one of `taken` that is wanted, from where one stopped or else the oldest on; and tell where to go on."""
        head = self._words[HEAD] & AT
        for start, end, memory in self._chain.from_one(since[0], head):
            places = bytes(memory[: head - start if start <= head < end else end - start])
            place = since[1] if start == since[0] else 0
            while (place := places.find(1, place)) >= 0:
                record = _record(memory, place)
                place += 1
                if wanted(record):
                    return record, (start, place)
        return None

    def newest(self) -> tuple[memoryview[int], int] | None:
        """Find the record that was taken last of those that are not done: the map of its segment, and its place."""
        found: list[tuple[memoryview[int], int]] = []
        self.sweep(lambda memory, places: found.append((memory, places.rfind(1))))
        return found[-1] if found else None

    @staticmethod
    def taker(record: Record) -> tuple[int, int] | None:
        """Tell which process has a taken record, by number and process id; None if it is done."""
        _, memory, place = record
        word, number = _read_two(memory, place << 4)
        return (number, word >> SIZE_BITS) if memory[place] else None

    @staticmethod
    def hand_over(record: Record, number: int, pid: int, noted: deque[Mark]) -> None:
        """Give a record to another process, which notes it; the one that has it must be dead."""
        payload, memory, place = record
        mark = memory, place, 0
        begin = place << 4
        words = memory[begin : begin + CELL].cast("Q")
        before = words.tolist()
        words[0] = pid << SIZE_BITS | len(payload)
        try:
            words[1] = number
            noted.append(mark)
        except BaseException:
            if noted and noted[-1] is mark:
                noted.pop()
            words[1], words[0] = before[1], before[0]
            raise


def _record(memory: memoryview[int], place: int) -> Record:
    """Give the record at a place of a segment."""
    begin = (place << 4) + CELL
    size = _read_two(memory, place << 4)[0] & SIZE
    return memory[begin : begin + size], memory, place
