"""What a worker that runs tasks in a thread of this process tells of what runs there now."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.errors import TimeLimitExceeded
from workpool.ipc.stacktext import stack_of_thread
from workpool.naming import function_name
from workpool.scheduling.chunk import Chunk, Item
from workpool.scheduling.worker import describe, describe_item
from workpool.situation import Mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.printing import Lines, Who
    from workpool.scheduling.scheduler import Scheduler
    from workpool.situation import Asked
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
    asked: bool  # to end: all that runs here
    _mark: Mark | None  # of the item that wanted one last; its number is its place in the chunk
    _item: Item | None  # what runs now, or ran last, of a chunk under a time limit
    _ran: list[Any]  # what came out of a chunk without one so far
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
        """Begin no more items of a closed map call, and let what runs see it; lock held, but for a task.

        A task has its mark with it: whoever cancels it sets that.
        """
        if what is None:
            self.ask_all()
            if not self.scheduler.killed:  # else `kill` says what becomes of them
                self._call_off()
        chunk = self.chunk
        if chunk is not None and chunk.job is what:
            self._ask_item()
            if rest := chunk.take_back(chunk.size):
                self.scheduler.litter.append(rest)
                rest.job.drop(rest.size)

    def _call_off(self) -> None:
        """Close the map call of a chunk of which something has not begun; lock held."""
        taken, chunk = self.taken, self.chunk
        if taken.__class__ is Chunk:
            taken.job.close()
        if chunk is not None and chunk.todo:
            chunk.job.close()

    def _mark_now(self) -> Asked:
        """Give the mark of what runs, in its thread; around all calls, and from a call given up, the worker is it."""
        task, chunk = self.task, self.chunk
        if task is not None:
            mark = task._mark
            if mark is None or mark.of != task._attempts:
                mark = task._mark = Mark(task._attempts)
                if task._unwanted:
                    mark.asked = True
        elif chunk is not None:
            mark, item = self._mark, self._item
            # As in `_place`; a call costs as much as the rest.
            place = len(self._ran) if item is None else item.offset
            if mark is None or mark.of != place:
                mark = self._mark = Mark(place)
                if chunk.job.closed:
                    mark.asked = True
        else:
            return self
        # Looked at last: from a thread that is written off the task may be with another by now, and so its mark.
        return self if self.asked else mark

    def _place(self) -> int:
        """Tell which item of the chunk runs: unlike its offset, also while the rest is taken back."""
        item = self._item
        return len(self._ran) if item is None else item.offset

    def _ask_item(self) -> None:
        """Set the mark of the item that runs, or waits here for what runs; lock held."""
        place = self._place()  # first: a mark is taken away before the place is another's
        mark = self._mark
        if mark is not None and mark.of == place:
            mark.asked = True

    def ask_all(self) -> None:
        """Let all that runs here see that it is not wanted any more; lock held."""
        self.asked = True
        # Who waits for another is in its new place before it leaves the old one, there and back.
        for task in (self.task, *self._outer, self.task):
            if task is not None and (mark := task._mark) is not None:
                mark.asked = True
        if self.chunk is not None:
            self._ask_item()

    def _task_id(self) -> int:
        task, chunk = self.task, self.chunk
        if task is not None:
            return task.id
        return -1 if chunk is None else chunk.start + self._place()

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
