"""What a queue between threads owes: an item that was put and is not done is a debt.

Debts are entries of a deque, so that to owe and to pay is one step each, without the lock.
Many of them are *folded* into a number, with the lock held: who never calls `task_done`,
as many users of ``queue.Queue`` do not, has no ever longer deque for it.

Guarantees
    *No debt is missed*, at any moment: while they are folded, or unfolded, there may seem to be
    more than there are, so whoever does that looks afterwards whether `join` is to be told.

    *An exception that strikes* leaves a debt paid or owed, and no one who joins asleep for ever:
    a call that is struck tells them, if need be again.
"""

from __future__ import annotations

from collections import deque
from itertools import repeat
from operator import call
from typing import TYPE_CHECKING, Any, Final, TypeVar

from typing_extensions import override

from workpool.queues.calls import Calls, join_timeout, wait_of
from workpool.queues.sleepers import NOTHING, rouse_all, wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.queues.sleepers import Sleepers

__all__ = ["FOLD", "Indebted"]

T = TypeVar("T")

#: Debts that are folded at once, and puts between two looks whether there are too many.
FOLD: Final = 4096
_TOO_MANY = "task_done() called more often than items were put"


class Indebted(Calls[T]):
    """The part of a queue that knows what is not done."""

    __slots__ = ("_debts", "_folded", "_free", "_joiners", "_lock", "_owe", "_pay")

    _lock: Any  # guards what follows, but for single steps of `_debts`
    _joiners: Sleepers
    _free: bool  # whether a step of a deque needs no lock

    def _begin_ledger(self) -> None:
        self._debts: deque[None] = deque()
        self._folded = 0  # so many more
        self._owe = self._owing()
        self._pay = self._debts.pop

    @property
    @override
    def unfinished(self) -> int:
        with self._lock:
            return self._folded + len(self._debts)

    @override
    def task_done(self) -> None:
        if not self._free:
            with self._lock:
                self._settle()
            return
        try:
            self._pay()
            if self._joiners and not self._debts:
                self._tell_joiners()
        except IndexError:
            with self._lock:
                self._settle()
        except BaseException:
            self._tell_joiners()
            raise

    @override
    def join(self, timeout: float | None = None) -> None:
        timeout = wait_of(timeout)
        if wait(self._lock, self._joiners, self._try_join, timeout) is NOTHING:
            raise join_timeout(self.unfinished, self.qsize(), timeout)

    # ---------------------------------------------------------------- with the lock held, but for `_tell_joiners`

    def _try_join(self) -> Any:
        return NOTHING if self._debts or self._folded else None

    def _tell_joiners(self) -> None:
        """Wake those who join, if all is done."""
        with self._lock:
            if self._joiners and not self._debts and not self._folded:
                rouse_all(self._joiners)

    def _settle(self) -> None:
        """Pay for an item that is done, and tell `join` if it was the last."""
        try:
            while True:
                try:
                    self._pay()
                    break
                except IndexError:
                    if not self._unfold():
                        raise ValueError(_TOO_MANY) from None
            if self._joiners:
                self._tell_joiners()
        except BaseException:
            self._tell_joiners()
            raise

    def _owing(self) -> Callable[[], None]:
        """Make what notes a debt in one step, and stops after so many: then it is time to fold."""
        return map(self._debts.append, repeat(None, FOLD)).__next__

    def _fold(self) -> None:
        """Turn debts into a number if they are many; they may be too many for a moment, and never too few."""
        with self._lock:
            self._owe = self._owing()
            if len(self._debts) <= 2 * FOLD:
                return
            paid: list[None] = []
            paying = map(call, repeat(self._pay, FOLD))
            self._folded += FOLD
            try:
                paid.extend(paying)  # one step of C, for all threads
            except IndexError:  # some were paid meanwhile
                self._folded -= FOLD - len(paid)
                self._tell_joiners()

    def _unfold(self) -> bool:
        """Turn some of the number into debts; tell whether there was any."""
        some = min(FOLD, self._folded)
        debts = repeat(None, some)
        try:
            self._debts.extend(debts)
        finally:
            self._folded -= some
        return some > 0
