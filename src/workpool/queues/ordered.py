"""Queues with another order than first in, first out: the last one first, the smallest first."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any, TypeVar

from typing_extensions import override

from workpool._compat import ShutDown
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

    Items are compared with ``<``. One that cannot be compared with those in the
    queue is refused with the error of the comparison; the queue stays as it was.

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
        # A comparison may run code of the items' class, so nothing is one step here.
        self._free_put = self._free_get = False
        self._items = []

    @override
    def _try_put(self, item: T) -> Any:
        if self._closed:
            raise ShutDown
        if self.full():
            return NOTHING
        heap: list[Any] = self._items
        try:
            heappush(heap, item)
        except BaseException:
            # The item is in the heap before it is compared.
            place = next((i for i, other in enumerate(heap) if other is item), None)
            if place is not None:
                del heap[place]
                heapify(heap)
            raise
        try:
            self._owe(None)  # no one can take the item before the lock is free
        finally:
            rouse(self._getters)
        return None

    @override
    def _try_get(self) -> Any:
        if not self._items:
            if self._closed:
                raise ShutDown
            return NOTHING
        item = heappop(self._items)
        self._pass_on()
        return item
