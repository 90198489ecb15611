"""A map call of chunksize 1: item by item through the pool's own ``submit``.

That is ``Executor.map``'s promise to subclasses and wrappers of ``submit``. To
the consumer it looks like a :class:`~workpool.scheduling.mapjob.MapJob`.

The scheduler's lock guards everything but the pulling of the input, as there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from workpool.scheduling.ledger import rouse
from workpool.scheduling.mapjob import Piece, begin_pulling, end_of_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workpool.scheduling.mapjob import Meter
    from workpool.scheduling.scheduler import Scheduler
    from workpool.task import Task

__all__ = ["SubmitJob"]


class SubmitJob:
    """Tasks of one map call, and which of them are done."""

    def __init__(
        self,
        host: Scheduler,
        submit: Callable[[Any], Task[Any]],
        source: Iterator[Any],
        *,
        window: int | None,
        ordered: bool,
    ) -> None:
        self.host = host
        self.ordered = ordered
        self.closed = False
        self.unseen = False  # nobody has its results any more
        self.reason: BaseException | None = None
        self.settled = 0
        self.consumed = 0
        self.pulled = 0
        self.watchers: list[Any] = []
        self.listener: Callable[[], object] | None = None
        self.meter: Meter | None = None
        self._submit = submit
        self._source: Iterator[Any] | None = source
        self._window = window  # None: all of it, at once
        self._tasks: deque[Task[Any]] = deque()  # not fetched, in order
        self._done: deque[Task[Any]] = deque()  # not fetched, as they ended
        self.puller: object = None  # stands for the call of pull that has the input
        self.epoch = host.ledger.current
        with host.lock:
            self.epoch.open_jobs.append(self)

    def pull(self, *, ahead_of_settled: bool = False) -> None:
        """Submit items up to the window, counted from what is consumed (or merely settled)."""
        me = object()
        try:
            if not begin_pulling(self, me):
                return
            while self._source is not None:
                behind = self.settled if ahead_of_settled else self.consumed
                if self._window is not None and self.pulled - behind >= self._window:
                    return
                try:
                    item = next(self._source)
                except StopIteration:
                    with self.host.lock:
                        self._end_of_source()
                    return
                except BaseException:
                    with self.host.lock:
                        self._end_of_source()
                    raise
                try:
                    task = self._submit(item)
                except BaseException:
                    # Closed pool, full queue: the call failed, and leaves nothing to be pulled by a join.
                    with self.host.lock:
                        self.close()
                    raise
                with self.host.lock:
                    self.pulled += 1
                    self._tasks.append(task)
                    self._adopt(task)
                task.add_done_callback(self._settled)
        finally:
            if self.puller is me:
                self.puller = None
            with self.host.lock:
                self._tell_watchers()  # a join that found the input taken looks again

    def _adopt(self, task: Any) -> None:
        """Count a task with the map call it belongs to, not with what was submitted last; lock held.

        Else a join that pulls would not wait for what it pulled itself: it waits
        for the epochs before it.
        """
        theirs = getattr(task, "_epoch", None)
        if theirs is not None and theirs is not self.epoch and not task.done():
            task._epoch = self.epoch
            self.epoch.left += 1
            self.host.dismiss(theirs, 1)

    def could_pull(self) -> bool:
        """Tell whether a join would find input to pull right now; lock held."""
        room = self._window is None or self.pulled - self.settled < self._window
        return room and self._source is not None and self.puller is None

    def fetch(self) -> Piece | None:
        """Take the next result, if it is there; lock held."""
        if self.ordered:
            if not self._tasks or not self._tasks[0].done():
                return None
            task = self._tasks.popleft()
        else:
            if not self._done:
                return None
            task = self._done.popleft()
            self._tasks.remove(task)
        self.consumed += 1
        if task.cancelled():
            from concurrent.futures import CancelledError

            return Piece(0, [None], {0: CancelledError()})
        error = task._exception
        return Piece(0, [task._result], None if error is None else {0: error})

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return self.closed or (self._source is None and self.consumed == self.pulled)

    def close(self, reason: BaseException | None = None) -> None:
        """Cancel what has not started; lock held, and held again on return."""
        if self.closed:
            return
        self.closed = True
        self.reason = reason
        if self.meter is not None:
            self.meter.end()
        self._end_of_source()
        tasks = list(self._tasks)
        self._tasks.clear()
        self._tell()
        self.host.lock.release()  # cancel() takes it, and runs callbacks
        try:
            for task in tasks:
                task.cancel()
        finally:
            self.host.lock.acquire()

    def _settled(self, task: Any) -> None:
        with self.host.lock:
            self.settled += 1
            if not self.ordered:
                self._done.append(task)
            if self.meter is not None:
                if not task.cancelled():
                    failed = int(task._exception is not None)
                    self.meter.count(1 - failed, failed)
                if self._source is None and self.settled == self.pulled:
                    self.meter.end()
            self._tell()

    def _end_of_source(self) -> None:
        if self._source is not None:
            self._source = None
            self.epoch.open_jobs.remove(self)
            self.host.dismiss(self.epoch, 0)
            self._tell()
            if self.meter is not None:
                end_of_source(self.meter, self)

    def _tell(self) -> None:
        listener, self.listener = self.listener, None
        if listener is not None:
            listener()
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        watchers, self.watchers = self.watchers, []
        for watcher in watchers:
            rouse(watcher)
