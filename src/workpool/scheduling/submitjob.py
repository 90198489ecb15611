"""A map call of chunksize 1: item by item through the pool's own ``submit``.

That is ``Executor.map``'s promise to subclasses and wrappers of ``submit``. To
the consumer it looks like a :class:`~workpool.scheduling.mapjob.MapJob`.

The scheduler's lock guards everything but the pulling of the input, as there.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import BrokenExecutor, CancelledError
from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.errors import PoolClosed
from workpool.scheduling.chunk import Piece
from workpool.scheduling.pulling import SLOW, Pulling
from workpool.situation import here
from workpool.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workpool.scheduling.pulling import Puller
    from workpool.scheduling.scheduler import Scheduler

__all__ = ["SubmitJob"]


class SubmitJob(Pulling):
    """Tasks of one map call, and which of them are done."""

    host: Scheduler

    def __init__(
        self,
        host: Scheduler,
        submit: Callable[[Any], Task[Any]],
        *,
        window: int | None,
        ordered: bool,
    ) -> None:
        # A window of None: all of it, at once.
        super().__init__(host, window=window, ordered=ordered, epoch=host.ledger.current)
        # With a scribe: by position, tasks whose results are being kept; by task, what may be told.
        self._held: dict[int, Task[Any]] = {}
        self._places: dict[Task[Any], int] = {}  # positions, where the order does not tell
        self._through: dict[Task[Any], Piece] = {}
        self._submit = submit
        self._tasks: deque[Task[Any]] = deque()  # not fetched, in order
        self._done: deque[Task[Any]] = deque()  # not fetched, as they ended

    def begin(self, source: Iterator[Any], _: None) -> None:
        """Accept the input, which is to be pulled as it is needed."""
        with self.host.lock:
            if self.scribe is not None:  # what is restored comes by no submit that would refuse
                self.host.admit(self, 0)
            self.epoch = self.host.ledger.current
            self._source = source
            self.epoch.open_jobs.append(self)

    def pull(self, until: float | None = None, *, by: Puller = "consumer") -> None:
        """Submit items up to the window, or as far as need be (see `Pulling`)."""
        me, before = object(), here.pulls_for
        try:
            if not self.begin_pulling(me):
                return
            slow = False
            while (source := self._source) is not None:  # which another thread may end
                if self._window is not None and self.ahead(by) >= self._window:
                    return
                began = monotonic()
                if self.is_enough(by, began, until, slow=slow and self._window is not None):
                    return
                try:
                    item = next(source)
                except StopIteration:
                    if self.scribe is not None:
                        self.restore([], last=True)
                    with self.host.lock:
                        self.end_of_source()
                    return
                except BaseException as error:
                    with self.host.lock:
                        self.fail_input(error)
                    raise
                slow = monotonic() - began >= SLOW
                if self.scribe is not None:
                    kept = self.restore([item], last=False)
                    if self.closed or self.exhausted:
                        return
                    if kept:
                        self._accept(kept[self.pulled])
                        continue
                self._run(item)
        finally:
            here.pulls_for = before
            if self.puller is me:
                self.puller = None
            self.end_pulling()

    def _run(self, item: Any) -> None:
        """Submit one item."""
        try:
            task = self._submit(item)
        except BaseException as error:
            # Closed pool, full queue: the call failed, and leaves nothing to be pulled by a join.
            with self.host.lock:
                if self.exhausted and isinstance(error, (PoolClosed, BrokenExecutor)):
                    return  # the end of the pool has cut it off, and the consumer is told why
                # Whoever asks once more is told what has ended it, too.
                name = type(error).__name__
                message = (
                    f"the rest of this map call was cancelled: an item was refused with {name}"
                )
                self.close(CancelledError(message))
            raise
        with self.host.lock:
            if self.scribe is not None:
                self._held[self.pulled] = task
            if self.scribe is not None or not self.ordered:
                self._places[task] = self.pulled
            self.pulled += 1
            self._tasks.append(task)
            self._adopt(task)
            closed = self.closed  # meanwhile, by another thread
        task.add_done_callback(self._settled)
        if closed:
            task.cancel()
        # Run inline, it has failed on top of this frame: no cycle through its traceback.
        del task

    def _accept(self, result: Any) -> None:
        """Take in an item whose result was kept."""
        task: Task[Any] = Task()
        task.set_result(result)
        with self.host.lock:
            self._tasks.append(task)
            self._through[task] = Piece(self.pulled, [result], None)
            self.pulled += 1
            self._count(task, restored=1)

    def _adopt(self, task: Any) -> None:
        """Count a task with the map call it belongs to, not with what was submitted last; lock held.

        Else a join that pulls would not wait for what it pulled itself: it waits
        for the epochs before it. Cut off meanwhile, the map call may be in no epoch that anybody knows.
        """
        if self.exhausted:
            return
        theirs = getattr(task, "_epoch", None)
        if theirs is not None and theirs is not self.epoch and not task.done():
            task._epoch = self.epoch
            self.epoch.left += 1
            self.host.dismiss(theirs, 1)

    @property
    def has_next(self) -> bool:
        """Whether there is something to fetch; lock held, or a hint without."""
        if not self.ordered:
            return bool(self._done)
        try:
            first = self._tasks[0]
        except IndexError:
            return False
        return first.done() and (self.scribe is None or first in self._through)

    def fetch(self) -> Piece | None:
        """Take the next result, if it is there; lock held."""
        if not self.has_next:
            return None
        if self.ordered:
            task = self._tasks.popleft()
        else:
            task = self._done.popleft()
            self._tasks.remove(task)
        self.consumed += 1
        if self.scribe is not None:
            return self._through.pop(task)
        return self._piece_of(task, self._places.pop(task, self.consumed - 1))

    @staticmethod
    def _piece_of(task: Task[Any], position: int) -> Piece:
        if task.cancelled():
            return Piece(position, [None], {0: CancelledError()})
        error = task._exception
        return Piece(position, [task._result], None if error is None else {0: error})

    def close(self, reason: BaseException | None = None) -> None:
        """Cancel what has not started; lock held, and held again on return."""
        if self.closed:
            return
        self.closed = True
        self.reason = reason
        if self.meter is not None:
            self.meter.end()
        self.end_of_source()
        tasks = list(self._tasks)
        self._tasks.clear()
        self._done.clear()  # they are among those, which are let go of without the lock
        self.tell()
        self.tell_watchers()
        self.host.lock.release()  # cancel() takes it, and runs callbacks
        try:
            # The last first: one that runs and is told makes room for none that is to be cancelled.
            for task in reversed(tasks):
                task.cancel()
        finally:
            self.host.lock.acquire()

    def _settled(self, task: Any) -> None:
        with self.host.lock:
            if self.scribe is None:
                self._count(task)
                return
            piece = self._piece_of(task, self._places.pop(task))
            if piece.errors is None:
                # Not done before it is kept: a join waits for that too.
                self.epoch.left += 1
                self.scribe.take(self, piece)
            else:
                self._held.pop(piece.start)
                self._through[task] = piece
                self._count(task)
                self.scribe.look()

    def settle(self, piece: Piece) -> None:
        """Tell an outcome that was kept; lock held."""
        task = self._held.pop(piece.start)
        self._through[task] = piece
        self._count(task)
        self.host.dismiss(self.epoch, 1)

    def _count(self, task: Task[Any], restored: int = 0) -> None:
        self.settled += 1
        if not self.ordered and not self.closed:
            self._done.append(task)
        if self.meter is not None:
            if not task.cancelled():
                failed = int(task._exception is not None)
                self.meter.count(1 - failed, failed, restored)
            if self._source is None and self.settled == self.pulled:
                self.meter.end()
        self.tell()
        self.tell_watchers()
