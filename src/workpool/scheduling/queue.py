"""The one shared queue: tasks and map calls in the order they run.

Entries are tasks, chunks that came back, and map calls, which stay at the head
until their last chunk is drawn. Smaller priorities come first, as in
:class:`queue.PriorityQueue`; within one priority, first in, first out.

Every call is made with the scheduler's lock held, which guards all of it.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from workpool.task import PENDING, RUNNING, Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workpool.scheduling.pace import Pace

__all__ = ["TaskQueue"]


class TaskQueue:
    """Levels of priority, each a deque; nearly always there is one.

    The head is the first level that has entries. Nothing but the head is ever taken from, so only the head
    runs empty; the next one is at the top of a heap, however many there are.
    """

    __slots__ = ("_heap", "_levels", "_pausing", "first", "head", "plain", "waiting")

    def __init__(self, pausing: Mapping[Any, Any] = MappingProxyType({})) -> None:
        self.head: deque[Any] = deque()  # the level that is served first
        self.first = 0  # its priority
        self._levels: dict[int, deque[Any]] = {0: self.head}
        self._heap = [0]  # priorities that have a level, smallest first
        self.plain = True  # priority 0 is the only level, so head is its deque
        # Tasks that count as queued for queue_size: not cancelled, not started.
        self.waiting = 0
        # Of those, some pause before another attempt. An entry of one is a stale one: it ran from
        # elsewhere the last time, and is queued anew when its pause is over.
        self._pausing = pausing

    def level(self, priority: int) -> deque[Any]:
        """Give the level of a priority, made if it is not there.

        Who puts an entry into it makes it the head first if it is to be served before that: two steps with
        no call in Python between them, so that none is left in a level that nobody comes to.
        """
        level = self._levels.get(priority)
        if level is None:
            level = deque[Any]()
            heappush(self._heap, priority)  # first: a priority without a level is stepped over
            self._levels[priority] = level
            self.plain = False
        return level

    def push(self, entry: Any, priority: int = 0, *, front: bool = False) -> None:
        """Add an entry at the end of its level, or before all others of it."""
        level = self.level(priority)
        if level is not self.head and (priority < self.first or not self.head):
            self.head, self.first = level, priority
        if front:
            level.appendleft(entry)
        else:
            level.append(entry)

    def __bool__(self) -> bool:
        """Tell whether there is an entry, cancelled ones included."""
        return bool(self.head)

    def pop(self, workers: int) -> Any | None:
        """Take the next task, marked running, or the next chunk of the first map call."""
        pausing = self._pausing
        while self.head:
            entry = self.head[0]
            if entry.__class__ is Task:
                self.head.popleft()
                if not self.head and not self.plain:
                    self._next_head()
                if entry._stage is not PENDING or (pausing and entry in pausing):
                    continue  # cancelled while it waited, and counted then; or a stale one
                entry._stage = RUNNING
                self.waiting -= 1
                return entry
            unit, more = entry.draw(workers)
            if not more:
                self.head.popleft()
                if not self.head and not self.plain:
                    self._next_head()
            if unit is not None:
                return unit
        return None

    def pop_small(self, pace: Pace, budget: float, most: int) -> list[Task[Any]]:
        """Take tasks that go with one just popped: known to be short, ``budget`` seconds in all."""
        tasks: list[Task[Any]] = []
        head, pausing = self.head, self._pausing
        fn, fn_seconds = object(), None  # of the last one: most are calls of one function
        while head and len(tasks) < most:
            entry = head[0]
            if entry.__class__ is not Task:
                break
            if entry._stage is PENDING and not (pausing and entry in pausing):
                call = entry._call
                assert call is not None  # what waits has its call
                if call[0] is not fn:
                    fn, fn_seconds = call[0], pace.of(call[0])
                seconds = fn_seconds if entry._terms.time_limit is None else None
                if seconds is None or seconds > budget:
                    break
                if entry._stage is PENDING:  # still: a finalizer may have cancelled it just now
                    budget -= seconds
                    entry._stage = RUNNING
                    tasks.append(entry)
            head.popleft()
        self.waiting -= len(tasks)
        if not head and not self.plain:
            self._next_head()
        return tasks

    def clear(self) -> list[Any]:
        """Empty the queue and give what was in it, in order."""
        entries = [*self]
        self._begin_anew()
        return entries

    def __iter__(self) -> Any:
        """Go through the entries in the order they would run."""
        return (entry for priority in sorted(self._levels) for entry in self._levels[priority])

    def _next_head(self) -> None:
        """Make the next level the head, which has run empty."""
        heap, levels = self._heap, self._levels
        while heap:
            first = heap[0]
            level = levels.get(first)
            if level:
                self.head, self.first = level, first
                self.plain = first == 0 and len(heap) == 1
                return
            heappop(heap)
            levels.pop(first, None)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.head, self.first = deque(), 0
        self._levels, self._heap, self.plain = {0: self.head}, [0], True
