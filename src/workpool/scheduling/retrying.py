"""Running again what failed: at once, or after a pause.

A unit that pauses is in no queue; it stands in ``_delayed``, and whoever takes it
from there (the timer, ``cancel_queued``, ``kill`` or ``fail_all``) decides what becomes
of it. A task that pauses is pending again, counted as waiting, and can be cancelled.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from workpool.scheduling.hiring import Hiring
from workpool.scheduling.mapjob import Chunk
from workpool.task import PENDING, RUNNING, Task

if TYPE_CHECKING:
    from workpool.scheduling.timers import Timer

__all__ = ["Retrying"]


class Retrying(Hiring):
    """Decides between another attempt and the error."""

    def fail(self, task: Task[Any], error: BaseException, *, by: Any = None) -> None:
        """Run a task again if its terms say so, else settle it with the error."""
        terms = task._terms
        if self._gives_up() or task._unwanted or not terms.retries_after(error, task._attempts):
            self.settle(task, None, error, by=by)
            return
        with self.lock:
            if task._stage is not RUNNING or (by is not None and by.written_off):
                return
            self.tally.again(task, error)
            # On its way back to the queue it is nobody's: a limit that is late finds it no more with its
            # thread, and who wants it ended cuts it where it is.
            task._worker = None
            if by is not None:
                by.taken = None
        self._again(task, terms.pause_before(task._attempts))

    def fail_item(self, chunk: Chunk, offset: int, item: Any, error: BaseException) -> bool:
        """Run one item of a map call again if its terms say so; tell whether it will."""
        job = chunk.job
        attempts = chunk.attempts + 1
        # With its call closed nobody would see what comes of it; _again looks once more, with the lock.
        if self._gives_up() or job.closed or not job.terms.retries_after(error, attempts):
            return False
        again = Chunk(job, chunk.start + offset, (item,), attempts)
        with self.lock:
            self.tally.item_again()
        self._again(again, job.terms.pause_before(attempts))
        return True

    def _gives_up(self) -> bool:
        """Tell whether nothing is begun any more; lock held, or a hint without."""
        return self.killed or self.broken is not None or self.called_off

    def _again(self, unit: Any, pause: float) -> None:
        """Queue a unit again after so many seconds."""
        if not pause:
            self.give_back([unit], front=False)
            return
        timers: list[Timer] = []
        with self.lock:
            if unit.__class__ is Task and unit._stage is not RUNNING:
                return  # killed since it failed
            pauses = self._begin_pause(unit, timers)
            gone = self.killed or self.broken is not None
        if not pauses:
            self.sweep()
            if unit.__class__ is Task:
                self.tell_cancelled(unit)
        elif gone:
            self._hurry_delayed()
        else:
            try:
                timer = self.timers.after(pause, partial(self._due, unit))
            except RuntimeError:  # the system has no thread to give: better too soon than never
                self._due(unit)
                return
            with self.lock:
                if self._delayed.get(unit) is timers:
                    timers.append(timer)
                else:
                    timer.cancel()  # its pause has ended already

    def _begin_pause(self, unit: Any, timers: list[Timer]) -> bool:
        """Have a unit pause, or cancel it if nobody wants its next attempt: then it is to be told; lock held.

        Looked at in the very step: who ended it meanwhile saw it running, and leaves the rest to us.
        """
        if unit.__class__ is not Task:
            if self.called_off or unit.job.closed:
                unit.job.close()
                unit.job.drop(unit.size)
                return False
        elif self.called_off or unit._unwanted:
            self.cut(unit)
            return False
        else:
            unit._stage = PENDING
            unit._worker = None
            self.queue.waiting += 1
        self._delayed[unit] = timers
        return True

    def _due(self, unit: Any) -> None:
        """Queue a unit whose pause is over, unless somebody had it first, or it was cancelled."""
        with self.lock:
            if not self._end_pause(unit):
                return
            if unit.__class__ is not Task:
                self.queue.push(unit, unit.job.terms.priority)
            elif unit._stage is PENDING:
                self.queue.push(unit, unit._terms.priority)
            else:
                return
            self._rouse(1)
        if self._borrows_callers:  # what is hired runs tasks in the thread that hires
            self.aside(self.hire)
        else:
            self.hire()
