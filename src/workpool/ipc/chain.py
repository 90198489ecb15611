"""Segments of memory in the reserve of a region, chained: longer at one end, and let go anywhere.

The reserve is a row of units. A segment is a run of them; which runs are free is
written nowhere: what is in no segment of the chain is free. A directory at the
begin of the reserve has a word for each unit; that of a segment's first unit
tells its length and the segment behind it.

Everything here is called under one lock. Who got hold of a segment's memory may
use it as long as the segment is in the chain; a mapping that is older than the
segment is the same memory, put together in another way.

What a kill leaves behind: each change is one store, and what was prepared
before it is in no chain, so it is free.
    `extend`: memory, the new entry, and the link in the old one. The caller then
    moves its tail there. Before that, the link leads to what is not part of the
    chain, so nobody follows the chain beyond the tail.
    `unlink`: one store. Before the memory is given back: it is free all the same.
"""

from __future__ import annotations

import errno
import sys
from itertools import starmap
from typing import TYPE_CHECKING, Final, NamedTuple

from workpool.errors import SharedStateLost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workpool.ipc.memory import Region

__all__ = ["CELL", "CELLS", "CHAIN_WORDS", "Chain", "Segment"]

CELL: Final = 16  # bytes; what positions count
_UNIT: Final = 1 << 16  # bytes
CELLS: Final = _UNIT // CELL  # cells of a unit

# Words: first unit of the first segment, and of a free one that keeps its memory; from where to where there
# is room; how many units are in the chain, or were at the last walk; and how many more segments may be linked
# before the next walk.
_OLDEST, _WARM, _PLACE, _LIMIT, _LENGTH, _SPARED = range(6)
CHAIN_WORDS: Final = 6
_ENTRY: Final = (
    8  # bytes of the directory for each unit: units << 32 | first unit of the next segment
)
_NEXT: Final = (1 << 32) - 1
_PART: Final = 1 << 14  # bytes of directory that are mapped at once
_MOST_UNITS: Final = 16  # of a segment that is not made for one large thing
# Each keeps a descriptor, before Python 3.13.
_MOST_MAPPED: Final = 16 if sys.version_info < (3, 13) else 256


class Segment(NamedTuple):
    """A segment as mapped here.

    Attributes
    ----------
    start, end : int
        Its first cell, and the one behind its last.
    memory : memoryview
        Its bytes; may go on behind its end.
    """

    start: int
    end: int
    memory: memoryview[int]

    @property
    def bounds(self) -> int:
        """Both cells in one word."""
        return self.start << 32 | self.end


class Chain:
    """The chain; see the module's text.

    Parameters
    ----------
    region : Region
        Has a reserve.
    words : memoryview
        `CHAIN_WORDS` words of its memory.
    fresh : bool
        Make the chain, of one segment, in zeroed memory; else it was made by someone.
    """

    def __init__(self, region: Region, words: memoryview[int], *, fresh: bool) -> None:
        self._region = region
        self._words = words
        self._parts: dict[int, memoryview[int]] = {}  # of the directory
        self._mapped: dict[int, Segment] = {}  # by first unit
        self._units = region.spare[1] // _UNIT
        self._first = -(-self._units * _ENTRY // _UNIT)  # the units before hold the directory
        if fresh:
            self._map(self._first, 1, anew=True)
            self._enter(self._first, 1)
            words[_OLDEST] = self._first

    def oldest(self) -> Segment:
        """Return the first segment."""
        return self._segment(self._words[_OLDEST])

    def find(self, cell: int, bounds: int) -> Segment:
        """Return the segment that a cell is in; its bounds are those given, if the cell lies between them."""
        start, end = bounds >> 32, bounds & _NEXT
        if start <= cell < end:
            return self._map(start // CELLS, (end - start) // CELLS)
        *_, last = self._up_to(cell)
        return self._map(*last)

    def from_one(self, start: int, cell: int) -> Iterator[Segment]:
        """Go from the segment that begins at `start`, or else from the first, to the one that `cell` is in."""
        chain = list(self._up_to(cell))
        for at, (unit, _) in enumerate(chain):
            if unit * CELLS == start:
                del chain[:at]
                break
        return starmap(self._map, chain)

    def behind(self, segment: Segment) -> Segment:
        """Return the one behind a segment."""
        entry, at = self._entry(segment.start // CELLS)
        return self._segment(entry[at] & _NEXT)

    def extend(self, last: Segment, cells: int) -> Segment:
        """Link a segment of so many cells behind the last.

        The longer the chain, the less often it is walked to find what is free in it: else a
        large item, which has a segment of its own, would cost the more, the more are queued.

        Raises
        ------
        OSError
            There is no memory for it; nothing changed.
        """
        words = self._words
        chain = [] if words[_SPARED] else self._walk(last)
        # The longer the chain, the longer its segments, so that there are not too many to map.
        regular = min(_MOST_UNITS, max(1, words[_LENGTH] // 8))
        unit, units = self._allocate(max(regular, -(-cells // CELLS)), last, chain)
        self._enter(unit, units)
        words[_LENGTH] += units
        if not chain and words[_SPARED]:
            words[_SPARED] -= 1
        entry, at = self._entry(last.start // CELLS)
        entry[at] = entry[at] & ~_NEXT | unit
        return self._map(unit, units)

    def unlink(self, segment: Segment, before: Segment | None) -> None:
        """Take a segment out of the chain; `before` is the one in front of it, if there is one."""
        words = self._words
        unit = segment.start // CELLS
        entry, at = self._entry(unit)
        units, follower = entry[at] >> 32, entry[at] & _NEXT
        if before is None:
            words[_OLDEST] = follower
        else:
            entry, at = self._entry(before.start // CELLS)
            entry[at] = entry[at] & ~_NEXT | follower
        self._mapped.pop(unit, None)
        if words[_WARM] == 0 and units <= _MOST_UNITS:
            words[_WARM] = unit
        else:
            self._region.trim(unit * _UNIT, units * _UNIT)

    # ---------------------------------------------------------------- runs of units

    def _up_to(self, cell: int) -> Iterator[tuple[int, int]]:
        """Walk over first unit and length of the segments, up to the one that a cell is in."""
        unit = self._words[_OLDEST]
        while True:
            entry, at = self._entry(unit)
            units = entry[at] >> 32
            yield unit, units
            if unit * CELLS <= cell < (unit + units) * CELLS:
                return
            unit = entry[at] & _NEXT
            if unit == 0:
                message = "the memory of a queue was written to by something else; make a new queue"
                raise SharedStateLost(message)

    def _walk(self, last: Segment) -> list[tuple[int, int]]:
        """Look at the whole chain: first unit and length of each segment, sorted."""
        words = self._words
        chain = sorted(self._up_to(last.start))
        words[_LIMIT] = 0
        words[_LENGTH] = sum(units for _, units in chain)
        words[_SPARED] = len(chain) // 2
        return chain

    def _allocate(self, units: int, last: Segment, chain: list[tuple[int, int]]) -> tuple[int, int]:
        """Find a free run of units, and put memory behind it."""
        words = self._words
        warm = words[_WARM]
        if warm:
            entry, at = self._entry(warm)
            warm_units = entry[at] >> 32
            fits = warm_units >= units
            if fits and words[_PLACE] < warm + warm_units and warm < words[_LIMIT]:
                words[_LIMIT] = warm
            # A kill after this leaves a free run that keeps its memory until it is used again.
            words[_WARM] = 0
            if fits:
                return warm, warm_units
            self._region.trim(warm * _UNIT, warm_units * _UNIT)
        if words[_PLACE] + units > words[_LIMIT]:
            self._choose(units, chain or self._walk(last))
        place = words[_PLACE]
        self._map(place, units, anew=True)
        words[_PLACE] = place + units
        return place, units

    def _choose(self, units: int, chain: list[tuple[int, int]]) -> None:
        """Find room for so many units, and for as many more segments as there will be before the next walk."""
        words = self._words
        wanted = units * (words[_SPARED] + 1)
        place, some = self._first, (0, 0)
        for start, length in [*chain, (self._units, 0)]:
            room = start - place
            if room >= units and (room >= wanted or not some[1]):
                some = place, start
            if room >= wanted:
                break
            place = start + length
        if not some[1]:
            message = (
                f"there is no room left in the {self._region.spare[1]} bytes that a queue may take"
            )
            raise OSError(errno.ENOMEM, message)
        # LIMIT is 0, and comes last: a kill in between leaves no room, rather than what is in use.
        words[_PLACE], words[_LIMIT] = some

    def _segment(self, unit: int) -> Segment:
        entry, at = self._entry(unit)
        return self._map(unit, entry[at] >> 32)

    def _map(self, unit: int, units: int, *, anew: bool = False) -> Segment:
        """Reach a run's memory; `anew`: put some behind it."""
        start, end = unit * CELLS, (unit + units) * CELLS
        known = None if anew else self._mapped.get(unit)
        if known is not None and known.end >= end:
            return known if known.end == end else known._replace(end=end)
        if len(self._mapped) >= _MOST_MAPPED:
            self._mapped.clear()
        view = self._region.open(unit * _UNIT, units * _UNIT)
        segment = self._mapped[unit] = Segment(start, end, view)
        return segment

    def _enter(self, unit: int, units: int) -> None:
        entry, at = self._entry(unit)
        entry[at] = units << 32

    def _entry(self, unit: int) -> tuple[memoryview[int], int]:
        """Reach the directory's word about a unit: the words of a part, and which of them."""
        part, byte = divmod(unit * _ENTRY, _PART)
        words = self._parts.get(part)
        if words is None:
            words = self._parts[part] = self._region.open(part * _PART, _PART).cast("Q")
        return words, byte // _ENTRY
