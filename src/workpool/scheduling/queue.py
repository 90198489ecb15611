"""The one shared queue: tasks and map calls in the order they run.

Entries are tasks, chunks that came back, and map calls, which stay at the head
until their last chunk is drawn. Smaller priorities come first, as in
:class:`queue.PriorityQueue`; within one priority, first in, first out.

Every call is made with the scheduler's lock held, which guards all of it.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import TYPE_CHECKING, Any

from workpool.task import PENDING, RUNNING, Task

if TYPE_CHECKING:
    from workpool.scheduling.pace import Pace

__all__ = ["TaskQueue"]


class TaskQueue:
    """Levels of priority, each a deque; nearly always there is one."""

    __slots__ = ("_levels", "_order", "head", "plain", "waiting")

    def __init__(self) -> None:
        self.head: deque[Any] = deque()  # the level that is served first
        self._levels: dict[int, deque[Any]] = {0: self.head}
        self._order = [0]  # priorities that have a level, smallest first
        self.plain = True  # priority 0 is the only level, so head is its deque
        # Tasks that count as queued for queue_size: not cancelled, not started.
        self.waiting = 0

    def push(self, entry: Any, priority: int = 0, *, front: bool = False) -> None:
        """Add an entry at the end of its level, or before all others of it."""
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = deque()
            insort(self._order, priority)
            self.plain = False
        if front:
            level.appendleft(entry)
        else:
            level.append(entry)
        if level is not self.head:
            self._settle_head()

    def __bool__(self) -> bool:
        """Tell whether there is an entry, cancelled ones included."""
        return bool(self.head)

    def pop(self, workers: int) -> Any | None:
        """Take the next task, marked running, or the next chunk of the first map call."""
        while self.head:
            entry = self.head[0]
            if entry.__class__ is Task:
                self.head.popleft()
                if not self.head:
                    self._settle_head()
                if entry._stage is not PENDING:
                    continue  # cancelled while it waited; counted then
                entry._stage = RUNNING
                self.waiting -= 1
                return entry
            unit, more = entry.draw(workers)
            if not more:
                self.head.popleft()
                if not self.head:
                    self._settle_head()
            if unit is not None:
                return unit
        return None

    def pop_small(self, pace: Pace, budget: float, most: int) -> list[Task[Any]]:
        """Take tasks that go with one just popped: known to be short, ``budget`` seconds in all."""
        tasks: list[Task[Any]] = []
        head = self.head
        while head and len(tasks) < most:
            entry = head[0]
            if entry.__class__ is not Task:
                break
            if entry._stage is PENDING:
                call = entry._call
                assert call is not None  # what waits has its call
                seconds = pace.of(call[0]) if entry._terms.time_limit is None else None
                if seconds is None or seconds > budget:
                    break
                if entry._stage is PENDING:  # still: a finalizer may have cancelled it just now
                    budget -= seconds
                    entry._stage = RUNNING
                    tasks.append(entry)
            head.popleft()
        self.waiting -= len(tasks)
        if not head:
            self._settle_head()
        return tasks

    def clear(self) -> list[Any]:
        """Empty the queue and give what was in it, in order."""
        entries = [entry for priority in self._order for entry in self._levels[priority]]
        for level in self._levels.values():
            level.clear()
        return entries

    def __iter__(self) -> Any:
        """Go through the entries in the order they would run."""
        return (entry for priority in self._order for entry in self._levels[priority])

    def _settle_head(self) -> None:
        """Make the first level that has entries the head; drop empty ones but level 0."""
        for priority in [p for p in self._order if p and not self._levels[p]]:
            del self._levels[priority]
            self._order.remove(priority)
        self.plain = len(self._order) == 1
        for priority in self._order:
            if self._levels[priority]:
                self.head = self._levels[priority]
                return
        self.head = self._levels[0]
