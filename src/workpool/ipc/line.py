"""A line of waiters in shared memory: first come, first served, and the dead are passed over.

A waiter has a *place*: a ticket (the smaller, the earlier), the number of its process
(``lives.py``), when it last looked, and a word that it sleeps on. The first in the
line acts; whoever leaves the line wakes the next. There is a fixed number of places: who
finds none waits beside the line, and looks again.

Every call is made with the lock held that the line belongs to, but for ``sleep``.

What a kill leaves behind
    A place whose process has ended, which whoever looks first takes out of the line. A
    ticket is written last, so a place without one is free, whatever else is in it. A next
    one that was not woken looks again by itself.

A living thread may lose its place too: an exception can strike between any two steps. So a
waiter that has not looked for `STALE` seconds is passed over; should it still be there, it
lines up again.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from workpool.ipc import lives
from workpool.ipc.futex import Word

if TYPE_CHECKING:
    from workpool.ipc.memory import Region

__all__ = ["LINE_SIZE", "LOOK_AGAIN", "STALE", "Line"]

_PLACES: Final = 128
_TICKETS, _NUMBERS, _LOOKS, _WORDS = (8 + 8 * _PLACES * column for column in range(4))
LINE_SIZE: Final = _WORDS + 8 * _PLACES  # bytes of the region
_NOBODY: Final = memoryview(bytes(_NUMBERS - _TICKETS))
LOOK_AGAIN: Final = 0.5  # seconds between two looks of a waiter, whatever it waits for
STALE: Final = 5.0  # seconds without a look
_BESIDE: Final = 0.05  # seconds between two looks of who found no place


class Line:
    """The places of a line.

    Parameters
    ----------
    region : Region
        Where it lies.
    offset : int
        Where in the region; a multiple of 8.
    """

    __slots__ = ("_all", "_looks", "_next", "_numbers", "_region", "_tickets", "_words")

    def __init__(self, region: Region, offset: int) -> None:
        self._region = region
        view = region.view[offset : offset + LINE_SIZE]
        self._next = view[:8].cast("Q")  # the last ticket given
        self._all = view[_TICKETS:_NUMBERS]
        self._tickets = self._all.cast("Q")  # 0: a free place
        self._numbers = view[_NUMBERS:_LOOKS].cast("Q")
        self._looks = view[_LOOKS:_WORDS].cast("d")
        self._words = [Word(region, offset + _WORDS + 8 * place) for place in range(_PLACES)]

    def first(self) -> int:
        """Give the first place that belongs to somebody who is still there, or -1."""
        if self._all == _NOBODY:  # compared as bytes, at the speed of C: the usual case
            return -1
        now = monotonic()
        while True:
            taken = [(ticket, place) for place, ticket in enumerate(self._tickets) if ticket]
            if not taken:
                return -1
            _, place = min(taken)
            stale = not now - STALE < self._looks[place] <= now
            if not stale and not lives.ended(self._region.arena, self._numbers[place]):
                return place
            self._tickets[place] = 0

    def join(self) -> tuple[int, int]:
        """Line up: gives a place, or -1, and its ticket."""
        number = lives.our_number(self._region.arena)
        for place, taken in enumerate(self._tickets):
            if taken:
                continue
            self._numbers[place] = number
            self._looks[place] = monotonic()
            self._next[0] = ticket = self._next[0] + 1
            self._tickets[place] = ticket
            return place, ticket
        return -1, 0

    def keeps(self, place: int, ticket: int) -> bool:
        """Tell whether the place is still the ticket's, and note that its owner has looked."""
        if place < 0 or self._tickets[place] != ticket:
            return False
        self._looks[place] = monotonic()
        return True

    def leave(self, place: int, ticket: int) -> Word | None:
        """Leave the line; gives the word of the next, to be woken without the lock."""
        if place < 0 or self._tickets[place] != ticket:
            return None
        self._tickets[place] = 0
        first = self.first()
        if first < 0:
            return None
        word = self._words[first]
        word.value += 1
        return word

    def seen(self, place: int) -> int:
        """Give what to sleep on the place with."""
        return self._words[place].value if place >= 0 else 0

    def sleep(self, place: int, seen: int, seconds: float) -> None:
        """Sleep until somebody left the line before us, or so long; without the lock."""
        if place >= 0:
            self._words[place].wait(seen, min(seconds, LOOK_AGAIN))
        else:
            # Beside the line: nobody knows to wake us. The word of a place is not ours to wait on.
            self._words[0].wait(self._words[0].value, min(seconds, _BESIDE))
