"""A queue as the place keeps it: items as pickles, and who has taken which."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeAlias

from workpool.shared.in_engines.waiters import Owner, Waiters

__all__ = ["Queue"]

Taken: TypeAlias = "tuple[int, bytes]"  # an item, and the number that its taker gave the call


class Queue:
    """Items as pickles; which life has taken what, and not marked it done."""

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._items: deque[bytes] = deque()
        self._taken: dict[Owner, deque[Taken]] = {}
        self._left: dict[int, deque[bytes]] = {}  # by dead ones, by the process's number
        self._closed = False
        self._unfinished = 0
        self._getters, self._putters, self._joiners = Waiters(), Waiters(), Waiters()

    async def on_put(self, owner: Owner, item: bytes, timeout: float | None) -> Any:
        """Put an item: ``"put"``, ``"full"`` or ``"closed"``."""
        if self._closed:
            return "closed"
        if 0 < self._maxsize <= len(self._items):
            if timeout is not None and timeout <= 0:
                return "full"
            # Whoever makes room takes the item in, in the same step.
            return await self._putters.wait(owner, timeout, item) or "full"
        self._take_in(item)
        return "put"

    def _take_in(self, item: bytes) -> None:
        self._unfinished += 1
        if not self._hand_over(item):
            self._items.append(item)

    def _hand_over(self, item: bytes) -> bool:
        """Give an item to the first who waits for one: then none are queued."""
        served = self._getters.serve(item)
        if served is None:
            return False
        owner, number = served
        self._note(owner, number, item)
        return True

    def _note(self, owner: Owner, number: int, item: bytes) -> None:
        self._taken.setdefault(owner, deque()).append((number, item))

    async def on_get(self, owner: Owner, timeout: float | None, number: int) -> Any:
        """Take an item, or say ``"empty"`` or ``"closed"``."""
        if self._items:
            item = self._items.popleft()
            self._make_room()
            self._note(owner, number, item)
            return item
        if self._closed:
            return "closed"
        if timeout is not None and timeout <= 0:
            return "empty"
        served = await self._getters.wait(owner, timeout, number)
        return "empty" if served is None else served

    def on_undo(self, owner: Owner, number: int | None = None) -> None:
        """Take back a put or a get that was interrupted; an item that was on its way is the next again."""
        for waiters in (self._getters, self._putters):
            if waiters.drop(lambda waiting: waiting == owner):
                return
        for taken in reversed(self._taken.get(owner, ())):
            if taken[0] == number:
                self._forget(owner, taken)
                if not self._hand_over(taken[1]):
                    self._items.appendleft(taken[1])
                return

    def on_task_done(self, owner: Owner) -> bool:
        """Mark the oldest item done that this thread took, else one of its process; False if none is."""
        mine = [owner, *(other for other in self._taken if other[:2] == owner[:2])]
        for each in mine:
            if self._taken.get(each):
                self._done(each)
                return True
        return False

    def on_drop(self, owner: Owner) -> None:
        """Mark the item done that this thread took last: nobody can use it."""
        if self._taken.get(owner):
            self._done(owner, last=True)

    async def on_join(self, owner: Owner, timeout: float | None) -> tuple[int, int, dict[int, int]]:
        """Wait until nothing is unfinished, or what is left was left by the dead."""
        if self._waited_for() and not (timeout is not None and timeout <= 0):
            await self._joiners.wait(owner, timeout)
        abandoned = self.on_abandoned(owner)
        return len(self._items), self._unfinished - len(self._items), abandoned

    def on_abandoned(self, owner: Owner) -> dict[int, int]:
        """Count what dead ones took and did not mark."""
        del owner
        return {process: len(items) for process, items in self._left.items()}

    def on_take_over(self, owner: Owner) -> bytes | None:
        """Take an item that a dead one had taken."""
        for process, items in list(self._left.items()):
            item = items.popleft()
            if not items:
                del self._left[process]
            self._note(owner, -1, item)
            return item
        return None

    def on_state(self, owner: Owner) -> tuple[int, int, bool]:
        """Tell how many are queued, how many are unfinished, and whether it is shut down."""
        del owner
        return len(self._items), self._unfinished, self._closed

    def on_close(self, owner: Owner, discard: bool) -> None:
        """Take no more items."""
        del owner
        self._closed = True
        if discard:
            self._unfinished -= len(self._items)
            self._items.clear()
        self._putters.serve_all("closed")
        if not self._items:
            self._getters.serve_all("closed")
        self._tell_joiners()

    def ended(self, life: str) -> None:
        """Keep what that life had taken, for someone to take over."""
        for waiters in (self._getters, self._putters, self._joiners):
            waiters.drop(lambda waiting: waiting[0] == life)
        for owner in [owner for owner in self._taken if owner[0] == life]:
            items = self._taken.pop(owner)
            self._left.setdefault(owner[1], deque()).extend(item for _, item in items)
        self._tell_joiners()

    def _make_room(self) -> None:
        """Take in what waits for room; who waits for an item finds none, so there is nobody."""
        while (self._maxsize <= 0 or len(self._items) < self._maxsize) and not self._closed:
            served = self._putters.serve("put")
            if served is None:
                return
            self._take_in(served[1])

    def _done(self, owner: Owner, *, last: bool = False) -> None:
        items = self._taken[owner]
        self._forget(owner, items[-1 if last else 0])
        self._unfinished -= 1
        self._tell_joiners()

    def _forget(self, owner: Owner, taken: Taken) -> None:
        items = self._taken[owner]
        items.remove(taken)
        if not items:
            del self._taken[owner]

    def _waited_for(self) -> int:
        """Count what somebody living may still mark done."""
        return self._unfinished - sum(map(len, self._left.values()))

    def _tell_joiners(self) -> None:
        if not self._waited_for():
            self._joiners.serve_all()
