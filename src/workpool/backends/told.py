"""What a worker that runs tasks in a thread of this process tells of what runs there now."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import ref

from workpool.errors import TimeLimitExceeded
from workpool.ipc.stacktext import stack_of_thread
from workpool.naming import function_name
from workpool.scheduling.chunk import Chunk
from workpool.scheduling.worker import describe, describe_item
from workpool.situation import Bound

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.printing import Lines, Who
    from workpool.scheduling.mapjob import MapJob
    from workpool.scheduling.scheduler import Scheduler
    from workpool.task import Task

__all__ = ["Told", "too_long"]


class Told:
    """Knows what runs now, and answers for it."""

    scheduler: Scheduler
    index: int
    ident: int | None = None  # of the thread in which it runs things, while it has one
    task: Task[Any] | None  # what runs now, a task
    chunk: Chunk | None  # or a chunk
    began: float
    taken: Any  # what is in hand, and does not run yet
    asked_to_end: bool  # all that runs here
    _outer: list[Task[Any] | None]  # tasks that wait here for the one that runs
    _lines: Lines | None  # printed by items, once one has

    def printed(self, which: int, text: str) -> None:
        """Take what the running task or item prints; in its thread."""
        if self.task is not None:
            self.task.keep_printed(which, text)
            return
        if self._lines is None:
            from workpool.printing import Lines

            self._lines = Lines()
        self._lines.add(which, text, self._who())

    def _who(self) -> Who:
        from workpool.printing import Who

        return Who(self.scheduler.name, self.index, self._task_name(), self._task_id())

    def ask_for_stack(self) -> Callable[[float], str]:
        """Look where the thread stands; there is nothing to wait for."""
        text = stack_of_thread(self.ident)
        return lambda _: text

    def running(self) -> list[tuple[str, float]]:
        """Name what runs now, with its age in seconds."""
        task, chunk = self.task, self.chunk
        if task is not None:
            return [(describe(task), monotonic() - task._started_at)]
        if chunk is not None:
            return [(describe_item(chunk, self._offset(chunk)), monotonic() - self.began)]
        return []

    @staticmethod
    def _offset(chunk: Chunk) -> int:
        return max(0, chunk.size - len(chunk.todo) - 1)

    def ask_to_end(self, what: object) -> None:
        """Begin no more items of a closed map call; lock held for that. What runs here looks at its own mark."""
        if what is None:
            self.asked_to_end = True
            if not self.scheduler.killed:  # else `kill` says what becomes of them
                self._call_off()
        chunk = self.chunk
        if chunk is not None and chunk.job is what and (rest := chunk.take_back(chunk.size)):
            self.scheduler.litter.append(rest)
            rest.job.drop(rest.size)

    def _call_off(self) -> None:
        """Close the map call of a chunk of which something has not begun; lock held."""
        taken, chunk = self.taken, self.chunk
        if taken.__class__ is Chunk:
            taken.job.close()
        if chunk is not None and chunk.todo:
            chunk.job.close()

    def _bound(self) -> Bound:
        """Tie what tells of an end that is asked for to what runs now, which is not held."""
        task, chunk = self.task, self.chunk
        if task is not None:
            one = ref(task)
            return Bound(partial(self._unwanted, one), partial(self._is_at, one))
        if chunk is not None:
            call, place = ref(chunk.job), self._place()
            return Bound(partial(self._closed, call), lambda: self._place() == place)
        return Bound(lambda: self.asked_to_end, lambda: self.task is None and self.chunk is None)

    def _unwanted(self, one: ref[Task[Any]]) -> bool:
        task = one()
        return self.asked_to_end or (task is not None and task._unwanted)

    def _is_at(self, one: ref[Task[Any]]) -> bool:
        """Tell whether a task runs here, or waits here for what runs; or is not wanted, wherever it is."""
        task = one()
        if task is None:
            return False
        # On its way back from a wait it is in its new place before it leaves the old one, and on its way
        # there, too: so who looks there and back sees it.
        places = (*self._outer, self.task, *self._outer)
        return task._unwanted or any(each is task for each in places)

    def _closed(self, call: ref[MapJob]) -> bool:
        job = call()
        return self.asked_to_end or (job is not None and job.closed)

    def _place(self) -> tuple[int, int, int] | None:
        """Tell which item runs, at which attempt; a task that it waits for may run inside it."""
        chunk = self.chunk
        if chunk is None:
            return None
        return id(chunk.job), chunk.start + self._offset(chunk), chunk.attempts

    def _task_id(self) -> int:
        task, chunk = self.task, self.chunk
        if task is not None:
            return task.id
        return -1 if chunk is None else chunk.start + self._offset(chunk)

    def _task_name(self) -> str:
        task, chunk = self.task, self.chunk
        if task is not None:
            return task._name
        return "" if chunk is None else chunk.job.terms.name or function_name(chunk.job.fn)

    def _attempt(self) -> int:
        task, chunk = self.task, self.chunk
        if task is not None:
            return task._attempts
        return 0 if chunk is None else chunk.attempts + 1


def too_long(what: str, limit: float | None, name: str) -> TimeLimitExceeded:
    """Say that a call in a thread ran past its time limit."""
    assert limit is not None
    return TimeLimitExceeded(
        f"{what} ran longer than its time limit of {limit} s. Its thread cannot be ended: it is written off and "
        'replaced. Use backend="process" to end such tasks truly.',
        time_limit=limit,
        task=name,
    )
