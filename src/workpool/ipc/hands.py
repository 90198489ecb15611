"""What this process has in hand of one queue: each thread's records, oldest first.

Noted here is what marks a record done (`Mark`), so that no lock is needed for that. A
thread marks its own first, and without any, what another thread has.

What a thread has taken and not yet opened, that is unpickled, is noted apart: no ``get`` has
returned it, so another thread does not mean it, and its memory is still read.

An exception may strike between any two steps of Python (Ctrl-C, a time limit). So a
record is taken off the list and marked done in one step of C: it never is off the list
and not done, and so for ever in the hands of a living process that does not know of it.
In one step, too, it goes from one list to the other.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from itertools import repeat, starmap
from operator import is_, itemgetter, setitem
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from workpool.ipc.taken import Mark

__all__ = ["Hands", "Ledger"]

#: What each thread has, by its number; under 0, what no thread of now has taken; and below that, what
#: ended threads had whose numbers are others' now.
Ledger: TypeAlias = "dict[int, deque[Mark]]"

_NOBODYS: Final = 0


class Hands(threading.local):
    """The hands of the thread that looks at it.

    Parameters
    ----------
    ledger : dict
        Those of all threads, of which there is one for each queue.

    Attributes
    ----------
    held : deque
        What this thread has, oldest first.
    marking : iterator
        Each ``next`` marks the oldest done; an IndexError if there is none.
    opening : deque
        What this thread has taken and not opened; one, or more where a signal's handler takes another.
    keeping : iterator
        Each step notes the newest of those as held. As the step of a ``for`` loop it lets no
        exception strike before whoever called that function has what it returns.
    both : tuple
        Those two: each look at what is a thread's own costs as much as a step.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        me = get_ident()
        left = ledger.get(me)
        if left:  # by a thread that has ended: what it had is not the oldest of this one's
            ledger[-id(left)] = left
        self.held: deque[Mark] = deque()
        ledger[me] = self.held
        for number in [number for number, held in list(ledger.items()) if number < 0 and not held]:
            ledger.pop(number, None)
        self.marking = _marking(deque[Any].popleft, repeat(self.held))
        self.opening: deque[Mark] = deque()
        # First noted there, then taken off here: without memory for the first it stays as it is.
        noted = map(self.held.append, map(itemgetter(-1), repeat(self.opening)))
        self.keeping = map(is_, noted, map(deque[Any].pop, repeat(self.opening)))
        self.both = self.opening, self.keeping

    def drop(self) -> None:
        """Mark done what this thread took last and has not opened."""
        with suppress(
            IndexError
        ):  # it was the process that this one was forked from in the middle of it
            next(_marking(deque[Any].pop, (self.opening,)))

    def mark_anyones(self) -> None:
        """Mark done the oldest that another thread has; a LookupError if none has any."""
        for held in list(self._ledger.values()):
            try:
                next(_marking(deque[Any].popleft, (held,)))
            except IndexError:  # nothing, or it was faster
                continue
            return
        raise LookupError

    def recall(self, marks: Iterable[Mark]) -> None:
        """Note what was taken by no thread that is known here."""
        self._ledger[_NOBODYS] = deque(marks)

    def empty(self) -> None:
        """Have nothing in hand, in no thread; in a forked child, which has no other."""
        for held in self._ledger.values():
            held.clear()
        self.opening.clear()  # of other threads nothing is left


def _marking(off: Callable[[deque[Mark]], Mark], held: Iterable[deque[Mark]]) -> Iterator[None]:
    """Take one off each list, in that way, and mark it done: both in one step."""
    return starmap(setitem, map(off, held))
