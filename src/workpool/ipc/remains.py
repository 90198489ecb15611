"""What is not done of a queue, and what of it is in the hands of the dead.

All of it is asked with the lock of the queue's head held. A living taker needs no lock to
mark its record done, so that one may be done a moment after it was found.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from workpool.ipc import lives
from workpool.ipc.taken import OLDEST

if TYPE_CHECKING:
    from workpool.ipc.memory import Arena
    from workpool.ipc.segments import Segments
    from workpool.ipc.taken import Record, Since

__all__ = ["Remains", "first_dead", "remains_of"]


class Remains(NamedTuple):
    """What is not done.

    Attributes
    ----------
    queued, taken : int
        How many records were not taken, or were and are not done.
    abandoned : dict of int to int
        How many of the taken ones are in the hands of a dead process, by process id.
    """

    queued: int
    taken: int
    abandoned: dict[int, int]


def remains_of(segments: Segments, arena: Arena) -> Remains:
    """Count what is not done."""
    taken = segments.taken()
    takers = _Takers(segments, arena)
    pids = [takers.dead(record) for record in taken]
    return Remains(segments.queued(), len(taken), dict(Counter(pid for pid in pids if pid)))


def first_dead(segments: Segments, arena: Arena, since: Since) -> tuple[Record, Since] | None:
    """Find a record that a dead process has, and where to look for the next one.

    Those from there on come first, then all: so who takes one after the other goes through them once.
    """
    takers = _Takers(segments, arena)
    # No generators here: an exception that strikes as one is closed half way is lost.
    found = segments.first(takers.dead, since)
    if found is None and since != OLDEST:
        found = segments.first(takers.dead, OLDEST)
    return found


class _Takers:
    """Who has records, each asked once whether it lives."""

    def __init__(self, segments: Segments, arena: Arena) -> None:
        self._segments = segments
        self._arena = arena
        self._ended: dict[int, bool] = {}

    def dead(self, record: Record) -> int:
        """Give the process id of a record's taker, if it is dead; else 0."""
        taker = self._segments.taker(record)
        if taker is None:
            return 0  # done only now
        number, pid = taker
        if number not in self._ended:
            self._ended[number] = lives.ended(self._arena, number)
        return pid if self._ended[number] else 0
