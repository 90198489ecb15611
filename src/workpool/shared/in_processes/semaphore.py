"""A semaphore in shared memory: a list of who has how many permits.

There is no number of free permits that could disagree with the list: it is
what the list leaves over. A row is a process's number (``ipc/lives.py``) and how
many permits that process has; a row that has none is free for any process.

Guarantees
    * Permits out and permits free always add up to the number at first.
    * Permits of a process that has ended come back: whoever finds none free
      looks who is dead, and does so again while it waits.

What a kill leaves behind
    Each step is one aligned store. New row: the number first, then the count;
    a kill between leaves a row without permits. Taking, bringing back: one
    store of a count. Bringing back several: a kill leaves some of them out,
    with their holder. Before the wake: those who wait look again by themselves.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from workpool.ipc import lives, memory
from workpool.ipc.futex import Word
from workpool.ipc.robust_lock import LOCK_SIZE, RobustLock, locked

if TYPE_CHECKING:
    from workpool.ipc.memory import Region

__all__ = ["ProcessSemaphore"]

# A process more than this finds no row and waits, as if no permit were free.
_MOST_ROWS: Final = 1024
_TOTAL, _USED, _TURN, _ROWS = LOCK_SIZE, LOCK_SIZE + 8, LOCK_SIZE + 16, LOCK_SIZE + 24
_LOOK_FOR_DEAD: Final = 0.1  # seconds; a death wakes no one


class ProcessSemaphore:
    """Permits in a region.

    Parameters
    ----------
    region : Region
        Where they lie; made by `make`.
    """

    __slots__ = ("_counts", "_lock", "_numbers", "_region", "_turn", "_words")

    def __init__(self, region: Region) -> None:
        rows = (region.size - _ROWS) // 16
        self._region = region
        self._lock = RobustLock(region)  # guards all that follows
        self._words = region.view[_TOTAL:_TURN].cast("q")  # permits in all; rows ever used
        self._turn = Word(region, _TURN)  # changes when permits come back
        self._numbers = region.view[_ROWS : _ROWS + 8 * rows].cast("Q")
        self._counts = region.view[_ROWS + 8 * rows :].cast("q")

    @classmethod
    def make(cls, value: int) -> ProcessSemaphore:
        """Make one with so many permits."""
        # Whoever has a row has a permit, so there are never more rows in use than permits.
        region = memory.allocate(_ROWS + 16 * min(value, _MOST_ROWS))
        RobustLock.create(region)
        home = cls(region)
        home._words[0] = value
        return home

    def __reduce__(self) -> tuple[object, ...]:
        return ProcessSemaphore, (self._region,)

    def acquire(self, timeout: float | None) -> bool:
        """Take a permit: ``None`` waits for ever, 0 only tries."""
        deadline = None if timeout is None else time.monotonic() + timeout
        number = lives.our_number(self._region.arena)
        taken = done = False
        seen = 0

        def act() -> None:
            nonlocal seen, taken
            seen = self._turn.value
            taken = self._take(number) or (self._bury() and self._take(number))

        while True:
            try:
                locked(self._lock, act)
                done = True
            finally:
                if taken and not done:  # Ctrl-C came in between: the caller will not know
                    self.release(1)
            if taken:
                return True
            left = _LOOK_FOR_DEAD if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return False
            self._turn.wait(seen, min(left, _LOOK_FOR_DEAD))

    def release(self, n: int) -> None:
        """Bring permits back."""
        number = lives.our_number(self._region.arena)
        locked(self._lock, lambda: self._bring_back(number, n))
        self._turn.wake()

    def free(self) -> int:
        """Count the permits that no one has."""
        return self._words[0] - sum(self._counts[: self._words[1]])

    def _take(self, number: int) -> bool:
        """Take a permit if one is free; `_lock` is held."""
        used = self._words[1]
        if sum(self._counts[:used]) >= self._words[0]:
            return False
        empty = used if used < len(self._counts) else -1
        for row in range(used):
            if self._numbers[row] == number:
                self._counts[row] += 1
                return True
            if self._counts[row] == 0:
                empty = row
        if empty < 0:
            return False
        # In this order: a row counts once it is in use and its count is above zero.
        self._numbers[empty] = number
        if empty == used:
            self._words[1] = used + 1
        self._counts[empty] = 1
        return True

    def _bring_back(self, number: int, n: int) -> None:
        """Bring so many back; `_lock` is held."""
        used = self._words[1]
        out = sum(self._counts[:used])
        if n > out:
            message = f"{n} permits cannot be brought back: {out} are out"
            raise ValueError(message)
        # Our own first; the rest was taken by another process, in whose name we bring it.
        for ours in (True, False):
            for row in range(used):
                if n and (self._numbers[row] == number) is ours:
                    back = min(n, self._counts[row])
                    self._counts[row] -= back
                    n -= back
        self._turn.value += 1

    def _bury(self) -> bool:
        """Bring back the permits of processes that have ended; `_lock` is held."""
        found = False
        for row in range(self._words[1]):
            if self._counts[row] and lives.ended(self._region.arena, self._numbers[row]):
                self._counts[row] = 0
                found = True
        return found
