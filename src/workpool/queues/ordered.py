"""Queues with another order than first in, first out: the last one first, the smallest first."""

from __future__ import annotations

from contextlib import suppress
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any, TypeVar

from typing_extensions import override

from workpool._compat import ShutDown
from workpool.errors import WouldDeadlock
from workpool.queues.sleepers import NOTHING, rouse
from workpool.queues.thread import Queue, Scope

__all__ = ["LifoQueue", "PriorityQueue"]

T = TypeVar("T")


class LifoQueue(Queue[T]):
    """A queue that gives the last item put first: a stack.

    Parameters
    ----------
    maxsize : int
        Most items in the queue; ``0`` or less means no bound.
    scope : {"thread"}
        Threads only.
    """

    __slots__ = ()

    def __init__(self, maxsize: int = 0, *, scope: Scope = "thread") -> None:
        super().__init__(maxsize, scope=scope)
        self._pop = self._items.pop


class PriorityQueue(Queue[T]):
    """A queue that gives the smallest item first; often tuples of a number and the data.

    Items are compared with ``<``. A put of one that cannot be compared with those in the
    queue fails with the error of the comparison. So does a get where two that were not
    compared before turn out not to be comparable. The queue stays as it was, either way.

    Parameters
    ----------
    maxsize : int
        Most items in the queue; ``0`` or less means no bound.
    scope : {"thread"}
        Threads only.
    """

    __slots__ = ("_sifting",)

    def __init__(self, maxsize: int = 0, *, scope: Scope = "thread") -> None:
        super().__init__(maxsize, scope=scope)
        # A comparison may run code of the items' class, so nothing is one step here.
        self._free_put = self._free_get = False
        self._items = []
        self._sifting = False  # items are being compared, so the heap is none just now

    @override
    def _try_put(self, item: T) -> Any:
        if self._closed:
            raise ShutDown
        if self.full():
            return NOTHING
        if self._sifting:
            raise _busy()
        heap: list[Any] = self._items
        end = len(heap)
        half = True  # counted, and not in
        try:
            self._owe()
            self._sifting = True
            heappush(heap, item)
            self._sifting = half = False
            if self._getters:
                rouse(self._getters)
        except BaseException as error:
            sifting, self._sifting = self._sifting, False
            if not half:
                rouse(self._getters)
            elif not sifting and isinstance(error, StopIteration):
                self._fold()
                return self._try_put(item)
            else:
                if len(heap) > end:
                    _undo_push(heap, item)
                self._settle()
            raise
        return None

    @override
    def _try_get(self) -> Any:
        heap: list[Any] = self._items
        if not heap:
            if self._closed:
                raise ShutDown
            return NOTHING
        if self._sifting:
            raise _busy()
        first, last = heap[0], heap[-1]
        taken = False
        try:
            self._sifting = True
            item = heappop(heap)
            taken = True
            self._sifting = False
            if self._putters or self._getters:
                self._pass_on()
        except BaseException:
            self._sifting = False
            if taken:
                self._pass_on()
            else:
                _undo_pop(heap, first, last)
            raise
        return item


def _busy() -> WouldDeadlock:
    """Tell a comparison that it cannot call us."""
    message = (
        "a comparison, or a signal's handler or a finalizer in the middle of one, used the PriorityQueue "
        "whose items are being compared. Use a Queue there."
    )
    return WouldDeadlock(message)


# heapq stops where a comparison raises: what it has moved by then can be moved back, without a comparison.


def _undo_push(heap: list[Any], item: object) -> None:
    """Take out what was pushed last: it went up from the end, and each that it met went down."""
    path = [len(heap) - 1]
    while heap[path[-1]] is not item:
        path.append((path[-1] - 1) // 2)
    path.reverse()
    for above, below in pairwise(path):
        heap[above] = heap[below]
    heap.pop()


def _undo_pop(heap: list[Any], first: object, last: object) -> None:
    """Put the first one back: the last one took its place and went down, and each that it met went up."""
    if heap:
        place, *others = [place for place, item in enumerate(heap) if item is last]
        while place:
            above = (place - 1) // 2
            heap[place] = heap[above]
            place = above
        heap[0] = first
        heap.append(last)
        if others:  # one object, put several times: which of them it was cannot be told
            with suppress(Exception):
                heapify(heap)
    else:
        heap.append(last)
