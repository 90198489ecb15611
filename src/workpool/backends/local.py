"""Running tasks and chunks in this very thread: what the thread and inline workers share.

A chunk runs at the speed of ``map``: one loop takes an item off ``todo``, calls
the function and appends the result. ``len(out)`` tells where it stopped. Items
are taken one at a time, so that another worker can take back from the far end
what has not started, even in the middle of the loop.
"""

from __future__ import annotations

from functools import partial
from itertools import repeat, starmap
from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool._compat import gil_enabled
from workpool.backends.told import Told
from workpool.calm import calmly
from workpool.compiled import is_in_c
from workpool.headroom import stack_is_deep
from workpool.scheduling.chunk import Chunk, Item, Piece
from workpool.scheduling.worker import describe, describe_item, no_clock
from workpool.situation import Mark, Situation
from workpool.traces import begin_below

if TYPE_CHECKING:
    from weakref import ref

    from workpool.printing import Lines
    from workpool.scheduling.awaited import Awaited
    from workpool.scheduling.scheduler import Scheduler
    from workpool.task import Task

__all__ = ["Item", "LocalRunner"]

# Where threads run at once, a loop in C keeps the list that it fills from whoever looks, to its end.
_LOOKED_AT = gil_enabled()


class LocalRunner(Told):
    """Runs units in the calling thread, settles them, and knows what runs now."""

    can_nest = True
    captures = False  # what runs here and prints
    others_look = (
        False  # at chunks that run here, while they do: there are other threads to run what waits
    )
    hand_over = None

    def __init__(self, scheduler: Scheduler, index: int) -> None:
        self.scheduler = scheduler
        self.index = index
        self.inbox: Any = None
        self.taken: Any = None
        self.took = False  # what is taken is looked for there, and in no hand yet; guarded by the scheduler's lock
        self.lent = self.leaving = self.looks_again = False
        self.fresh = True
        self.looks = False  # at chunks of other threads, while it has nothing to do
        self.sets_up = False  # in its initializer, or on the way into its context
        self.waits_on: Awaited | None = None  # in other pools
        self.waits_at: tuple[ref[Scheduler], ...] = ()  # those pools
        self.lends_for: Awaited | None = None  # in its own
        self._outer: list[Task[Any] | None] = []  # tasks that wait here for the one that runs
        self.situation = Situation(scheduler.name, index)
        self.task: Task[Any] | None = None  # what runs now, a task
        self.chunk: Chunk | None = None  # or a chunk
        self.began = 0.0
        self._lines: Lines | None = None  # printed by items, once one has
        self._out: list[Any] = []  # results of the chunk so far
        self._upto: int | None = None  # as many of them may be handed out; None: all
        self._ran: list[Any] = []  # all of them
        self._mark: Mark | None = None  # of an item
        self._errors: dict[int, BaseException] = {}
        self._kept: list[Any] | None = None  # its items, where they may run again
        self.handed_out = 0  # of them, delivered already; guarded by the scheduler's lock
        self._item: Item | None = None  # what runs now, or ran last, of a chunk under a time limit
        self.written_off = False  # settled from outside: whatever comes out is dropped
        self.asked = False  # to end: all that runs here
        self.situation.task_id = self._task_id
        self.situation.task_name = self._task_name
        self.situation.attempt = self._attempt
        self.situation.mark = self._mark_now

    # ------------------------------------------------------------------ one task

    def run_task(self, task: Task[Any], *, and_take: bool = False) -> bool:
        """Call the task's function and settle the task.

        With ``and_take``, what comes next may be taken in the same step, and be in ``taken``: True.
        """
        call = task._call
        if call is None:
            return False
        fn, args, kwargs = call
        self.task, self.taken = task, None
        task._attempts += 1
        task._started_at = monotonic()
        task._ended_at = 0.0
        timer = None
        if task._terms.time_limit is not None:
            try:
                timer = self._limit(task)
            except RuntimeError as none:
                self.task = None
                self.scheduler.settle(task, None, no_clock(describe(task), none), by=self)
                return False
        error: BaseException | None = None
        value: Any = None
        try:
            value = fn(*args, **kwargs) if kwargs else fn(*args)
        except BaseException as raised:
            error = begin_below(raised)
        task._ended_at = monotonic()
        self.taken, self.task = task, None
        if timer is not None:
            timer.cancel()
        if error is None and and_take:
            return self.scheduler.settle_and_take(self, task, value)
        if error is None:
            self.scheduler.settle(task, value, None, by=self)
        else:
            self.scheduler.fail(task, error, by=self)
        self.taken = None
        # The traceback leads from the user's frame back to this one. What stays here
        # would be held as long as the error is, and the error by itself.
        del task, call, fn, args, kwargs, error
        return False

    def stopped(self) -> bool:
        """Tell whether what comes next is to be left to others, in the middle of a chunk."""
        return False

    def too_deep(self, task: Task[Any]) -> bool:
        """Tell whether the stack is so deep that another thread is to run what a task waits for."""
        del task
        return stack_is_deep()

    def run_nested(self, task: Task[Any]) -> None:
        """Run a task that the task running here waits for."""
        self._outer.append(self.task)
        self._run_inside(task)

    def _run_inside(self, task: Task[Any]) -> None:
        outer = self.task, self.chunk, self.began
        try:
            self.run_task(task)
        finally:
            self.task, self.chunk, self.began = outer
            self._outer.pop()

    def is_within(self, task: Task[Any]) -> bool:
        """Tell whether a task runs in this thread, or waits there for what runs."""
        return task is self.task or any(outer is task for outer in self._outer)

    def _limit(self, task: Task[Any]) -> Any:
        late = partial(self.overdue, task, task._attempts)
        return self.scheduler.timers.after(task._terms.time_limit, late)

    def overdue(self, task: Task[Any], attempt: int) -> None:
        """Give up a task that ran past its limit; only workers that keep limits are asked."""
        raise AssertionError(describe(task), attempt)

    def overdue_item(self, item: Item) -> None:
        """Give up an item that ran past its limit; only workers that keep limits are asked."""
        raise AssertionError(describe_item(item.chunk, item.offset))

    # ----------------------------------------------------------------- one chunk

    def run_chunk(self, chunk: Chunk) -> None:
        """Call the function with each item and deliver the results."""
        chunk.open()
        scheduler = self.scheduler
        scheduler.sweep()
        with scheduler.lock:  # in one step, for whoever takes the chunk from this thread
            if self.written_off:
                return  # killed since it was taken, and counted by that
            if chunk.job.closed:
                chunk.job.drop(chunk.size)
                self.taken = None
                return
            self.handed_out, self._item, self._mark = 0, None, None
            self.began = began = monotonic()  # first: others look how long it has been running
            self.chunk, self.taken = chunk, None
            begins_watch = self.others_look and scheduler.begins_watch(chunk)
        if begins_watch:
            scheduler.watch_chunks()
        try:
            if chunk.job.terms.time_limit is not None:
                self._run_limited(chunk)
            else:
                self._run_fast(chunk, began)
        finally:
            self.chunk = None
            if self._lines is not None:
                self._lines.end()

    def _run_fast(self, chunk: Chunk, began: float) -> None:  # noqa: C901, PLR0912, PLR0915 - no frame between its loops and fn
        job, todo = chunk.job, chunk.todo
        fn = job.fn
        kept = list(todo) if job.terms.retries else None
        out: list[Any] = []
        errors: dict[int, BaseException] = {}
        lock = self.scheduler.lock
        with lock:
            self._ran = self._out = out
            self._errors, self._kept, self._upto, self.handed_out = errors, kept, None, 0
        error: BaseException | None = None
        in_c = _LOOKED_AT and is_in_c(fn)
        while True:
            raised: BaseException | None = None
            items = starmap(todo.popleft, repeat((), len(todo)))
            try:
                if in_c:
                    out.extend(starmap(fn, items) if job.star else map(fn, items))
                elif job.star:
                    for item in items:
                        out.append(fn(*item))  # noqa: PERF401 - a loop in C would not hear it
                else:
                    for item in items:
                        out.append(fn(item))  # noqa: PERF401 - as above
            except BaseException as caught:
                raised = caught
            item = None  # nobody here holds it when its result is told
            with lock:
                started = chunk.size - len(todo)
            if started == len(out):
                # What was started has its result: the chunk is done, the rest was taken
                # back (IndexError of popleft), or a signal came between two items.
                break
            # A StopIteration that comes through a function in C looked like the end of the items.
            error = raised if raised is not None else StopIteration()
            errors[len(out)] = begin_below(error)
            if kept is not None and self._upto is None:
                self._upto = len(
                    out
                )  # it may have to run again: nothing is handed out from here on
            out.append(None)
            if self.stopped():
                break
        seconds = monotonic() - began
        if out:
            times = (chunk.queued_at, began, began + seconds, seconds)
            with lock:
                self.scheduler.pace.measured(fn, seconds, len(out))
                self.scheduler.tally.ran(self.index, job, chunk.start, len(out), len(errors), times)
        rest: Chunk | None = None
        struck = None if isinstance(raised, IndexError) else raised
        if struck is not None:
            with lock:  # first: what is delivered is the whole of the chunk then
                rest = chunk.take_back(chunk.size)
        # In one step, whatever strikes: what counts as handed out is counted done by nobody else.
        calmly(self._deliver, chunk, out, errors, kept)
        if rest is not None:
            self.scheduler.give_back([rest])
        if struck is not None:
            raise struck
        if errors or raised is not None:
            # As in run_task: tracebacks lead back to this frame.
            del chunk, job, fn, todo, items, kept, out, errors, error, raised

    def _deliver(
        self, chunk: Chunk, out: list[Any], errors: dict[int, BaseException], kept: list[Any] | None
    ) -> None:
        """Deliver what is not handed out."""
        with self.scheduler.lock:
            start, self._out, self._errors, self._ran = self.handed_out, [], {}, []
            # Before anybody sees the results: the calls are over.
            self._upto = self._kept = self._mark = None
            self.handed_out = chunk.size  # from here on it is this thread's to deliver
        self._deliver_from(start, chunk, out, errors, kept)

    def _deliver_from(
        self,
        start: int,
        chunk: Chunk,
        out: list[Any],
        errors: dict[int, BaseException],
        kept: Any,
    ) -> None:
        """Deliver results in one piece, or in several around the items that run again, which are ``kept``."""
        if kept is not None:
            for offset in sorted(errors):
                if offset >= start and self.scheduler.fail_item(
                    chunk, offset, kept[offset], errors[offset]
                ):
                    self._deliver_part(chunk, out, errors, start, offset)
                    start = offset + 1
        self._deliver_part(chunk, out, errors, start, len(out))

    def _deliver_part(
        self, chunk: Chunk, out: list[Any], errors: dict[int, BaseException], start: int, end: int
    ) -> None:
        if start >= end:
            return
        part = {offset - start: error for offset, error in errors.items() if start <= offset < end}
        values = out if (start, end) == (0, len(out)) else out[start:end]
        self.scheduler.deliver(chunk.job, Piece(chunk.start + start, values, part or None))

    def _run_limited(self, chunk: Chunk) -> None:
        """Run items one by one, each with its own time limit."""
        while True:
            with self.scheduler.lock:
                if not chunk.todo or self.written_off:
                    return
                offset = chunk.size - len(chunk.todo)
                self._item = item = Item(chunk, offset, chunk.todo.popleft())
            self._run_item(item)
            self._item = None
            del item

    def _run_item(self, item: Item) -> None:
        """Run one item under its time limit; written off meanwhile, another worker has the rest."""
        scheduler, chunk, value = self.scheduler, item.chunk, item.value
        fn, limit = chunk.job.fn, chunk.job.terms.time_limit
        assert limit is not None
        try:
            timer = scheduler.timers.after(limit, partial(self.overdue_item, item))
        except RuntimeError as none:
            failed = no_clock(describe_item(chunk, item.offset), none)
            calmly(self._fail_item, item, failed, 0.0)
            return
        item.began = monotonic()
        error: BaseException | None = None
        result: Any = None
        try:
            result = fn(*value) if chunk.job.star else fn(value)
        except BaseException as raised:
            error = begin_below(raised)
        self._mark = None  # as in `_deliver`
        timer.cancel()
        if error is None:
            scheduler.settle_item(item, [result], self.index, monotonic())
        else:
            calmly(self._fail_item, item, error, monotonic())  # in one step, as above
        del item, chunk, value, fn, timer, result, error  # as in run_task

    def _fail_item(self, item: Item, error: BaseException, ended: float) -> None:
        """Have an item run again, or fail, unless it was given up; it ended at 0.0 if it was not begun."""
        scheduler, chunk, offset = self.scheduler, item.chunk, item.offset
        if not scheduler.settle_item(item, None, self.index, ended):
            return
        if not ended or not scheduler.fail_item(chunk, offset, item.value, error):
            scheduler.deliver(chunk.job, Piece(chunk.start + offset, [None], {0: error}))

    @property
    def finished(self) -> int:
        """How many results of the chunk there are that may be handed out before it ends, or were; lock held."""
        there, upto = len(self._out), self._upto
        return there if upto is None else upto

    def finished_part(self) -> Piece | None:
        """Take out what is finished of a chunk in which an item takes long; lock held.

        The loop that fills ``_out`` goes on meanwhile: it only appends, and notes an
        item's error before it appends for it. What is handed out is held here no more.
        """
        chunk, start, end = self.chunk, self.handed_out, self.finished
        if chunk is None or end <= start:
            return None
        errors = {
            place - start: self._errors[place]
            for place in range(start, end)
            if place in self._errors
        }
        self.handed_out = end
        values = self._out[start:end]
        self._out[start:end] = [None] * (end - start)
        return Piece(chunk.start + start, values, errors or None)

    def drop_chunk(self, chunk: Chunk, reason: BaseException) -> None:
        """Count what is left of a chunk that runs done, and close its map call with the reason; lock held."""
        item = self._item
        left = chunk.size
        self.scheduler.litter.append(chunk.take_back(left))
        if chunk.job.terms.time_limit is None:
            left, self.handed_out = left - self.handed_out, left
        else:
            left -= chunk.size  # of those that have started, all but the last are settled
            if item is not None and item.chunk is chunk and not item.settled:
                item.settled = True
                left += 1
        if left:
            chunk.job.close(reason)
            chunk.job.drop(left)
