"""Who runs what: the shared queue, the workers that drain it, and their count of what is left.

One lock, ``Scheduler.lock``, guards the queue, the ledger, the idle workers, and
the state of every task. All steps that must not be torn apart are therefore one
step: taking a task and marking it running; storing a result and counting it
done; finding nothing to do and becoming idle. No user code runs under it.

Handing over. A worker that finds nothing adds itself to ``idle`` and sleeps. Who
brings a task takes a worker from there, leaves the task in its ``inbox`` and wakes
it. In between, nothing is called that could let an exception of a signal in
(``worker.inbox = ...; del idle[-1]; worker.wake()``, and wake is one C call), so
Ctrl-C cannot lose a task or a worker.

States and guarantees
- An entry is in the queue, in an inbox, with a worker, or settled: exactly one.
- ``epoch.left`` counts entries that are not settled; it falls once for each.
- After ``close`` nothing is accepted; what was accepted still runs. Workers leave
  when nothing is left, or at once after ``kill``.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from workpool.errors import JoinTimeout, PoolClosed, WorkerLost, WouldDeadlock
from workpool.scheduling.ledger import Epoch, Ledger, sleep_on
from workpool.scheduling.mapjob import Chunk, MapJob, Piece
from workpool.scheduling.pace import TARGET, Pace, together
from workpool.scheduling.queue import TaskQueue
from workpool.scheduling.tally import Tally
from workpool.scheduling.timers import Timers
from workpool.situation import here
from workpool.task import CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING, Task, function_name

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["Scheduler", "Worker"]


class Worker(Protocol):
    """One worker, as the scheduler sees it: an inbox, a wake-up call and an end."""

    index: int
    inbox: Any  # a task or chunk handed over; guarded by the scheduler's lock

    @property
    def wake(self) -> Callable[[], object]:
        """Have the worker look into inbox and queue: one C call, safe at any time from any thread."""
        ...

    @property
    def hand_over(self) -> Callable[[], None] | None:
        """Do the worker's part at once, in the thread that submits; None if it cannot."""
        ...

    def start(self) -> None:
        """Begin to work, in a thread of its own; an OSError or RuntimeError if it cannot."""

    def kill(self) -> None:
        """End at once; what runs is settled by the worker's own thread, or by this call."""

    def end_task(self, task: Task[Any]) -> bool:
        """End the task if this worker runs it, and settle it as cancelled."""
        ...

    def ask_to_end(self, task: Task[Any]) -> None:
        """Let the task see that it is not wanted any more, if this worker runs it."""

    def join(self, timeout: float | None) -> bool:
        """Wait for the worker's end; tell whether it came."""
        ...

    def running(self) -> list[tuple[str, float]]:
        """Name what runs now, each with its age in seconds."""
        ...


class Scheduler:
    """The queue of one pool and the workers that drain it."""

    def __init__(
        self,
        *,
        name: str,
        max_workers: int,
        make_worker: Callable[[Scheduler, int], Worker],
        queue_size: int = 0,
    ) -> None:
        self.lock = threading.Lock()
        self.name = name
        self.max_workers = max_workers
        self.queue_size = queue_size
        self.queue = TaskQueue()
        self.ledger = Ledger()
        self.pace = Pace()
        self.tally = Tally()
        self.timers = Timers(f"{name}-timers")
        self.idle: list[Worker] = []  # asleep, inbox empty; last in, first out
        self.workers: dict[int, Worker] = {}
        self.closed = False  # accepts nothing more
        self.killed = False
        self.broken: BaseException | None = None  # why no worker can live
        # Called once, when the last worker has left for good.
        self.on_end: Callable[[], object] | None = None
        # Why nothing moves here: this is a forked child.
        self._orphaned: BaseException | None = None
        self._extra = 0  # workers beyond max_workers, one for each that waits for its own pool
        self._delayed: set[Any] = set()  # units that wait for their next attempt
        self._make_worker = make_worker
        self._putters: deque[Any] = deque()  # held locks of submits that wait for room
        self._ids = count()

    # ------------------------------------------------------------------ accepting

    def submit(self, task: Task[Any], *, timeout: float | None = None) -> None:
        """Accept a task: hand it to an idle worker, or queue it.

        Raises
        ------
        PoolClosed
            The pool is shut down.
        queue.Full
            There was no room within ``timeout`` seconds.
        """
        task._owner = self
        task._lock = lock = self.lock
        task._queued_at = monotonic()
        worker: Worker | None = None
        try:
            with lock:
                if self.closed or self.broken is not None:
                    raise self._refusal()
                queue = self.queue
                idle = self.idle
                if idle and not queue.head:
                    task.id = next(self._ids)
                    task._epoch = epoch = self.ledger.current
                    epoch.left += 1
                    task._state = RUNNING
                    worker = idle[-1]
                    worker.inbox = task
                    del idle[-1]
                    if worker.hand_over is None:
                        worker.wake()
                        return
                elif not self.queue_size or queue.waiting < self.queue_size:
                    task.id = next(self._ids)
                    task._epoch = epoch = self.ledger.current
                    epoch.left += 1
                    queue.waiting += 1
                    priority = task._terms.priority
                    if priority == 0 and queue.plain:
                        queue.head.append(
                            task
                        )  # one C call: nothing can come between it and the count
                    else:
                        queue.push(task, priority)
                    if len(self.workers) >= self.max_workers + self._extra and not idle:
                        return
            if worker is not None:
                worker.hand_over()  # type: ignore[misc]  # it is not None: seen above
                return
        except BaseException:
            if worker is not None:
                worker.wake()  # interrupted on the way: the worker looks into its inbox itself
            raise
        if task._epoch is None:
            self._wait_for_room(task, timeout)
        self.hire()

    def _wait_for_room(self, task: Task[Any], timeout: float | None) -> None:
        """Queue the task as soon as there is room.

        A worker of this very pool does not wait without help: one worker more is
        allowed meanwhile. In a callback that would wait for itself there is no
        help, and the task is accepted beyond the bound.
        """
        import queue as stdlib_queue

        until = None if timeout is None else monotonic() + timeout
        inside = here.worker if here.worker is not None and here.worker.scheduler is self else None
        if inside is not None and inside.can_nest:
            self.lend_worker(inside)
        while True:
            with self.lock:
                if self.closed or self.broken is not None:
                    raise self._refusal()
                beyond = inside is not None and not inside.can_nest
                if self.queue.waiting < self.queue_size or beyond:
                    task.id = next(self._ids)
                    task._epoch = epoch = self.ledger.current
                    epoch.left += 1
                    self.queue.waiting += 1
                    self.queue.push(task, task._terms.priority)
                    return
                sleeper = threading.Lock()
                sleeper.acquire()
                self._putters.append(sleeper)
            left = -1 if until is None else max(0.0, until - monotonic())
            try:
                woken = sleeper.acquire(timeout=left)
            except BaseException:
                self._leave_putters(sleeper)
                raise
            if not woken:
                self._leave_putters(sleeper)
                raise stdlib_queue.Full(self._is_full(timeout))

    async def room_for_one(self, timeout: float | None) -> None:
        """Wait until the queue has room, without blocking the event loop; another may take it first."""
        import asyncio
        import queue as stdlib_queue

        loop = asyncio.get_running_loop()
        sleeper = _LoopSleeper(loop)
        with self.lock:
            if self.closed or self.broken is not None or self.queue.waiting < self.queue_size:
                return
            self._putters.append(sleeper)
        try:
            await asyncio.wait_for(sleeper.woken.wait(), timeout)
        except TimeoutError:
            self._leave_putters(sleeper)
            raise stdlib_queue.Full(self._is_full(timeout)) from None
        except BaseException:
            self._leave_putters(sleeper)
            raise

    def _is_full(self, timeout: float | None) -> str:
        return (
            f"{self.name}: the queue has been full ({self.queue_size} tasks) for {timeout} s. "
            "Wait longer (queue_timeout), or give the pool a larger queue_size."
        )

    def _leave_putters(self, sleeper: Any) -> None:
        """Stop waiting for room; pass a wake-up that came meanwhile to the next."""
        with self.lock:
            try:
                self._putters.remove(sleeper)
            except ValueError:
                self._room()

    def _room(self) -> None:
        """Wake submits for which there is room; lock held."""
        room = self.queue_size - self.queue.waiting
        while self._putters and room > 0:
            self._putters.popleft().release()
            room -= 1

    def _refusal(self) -> BaseException:
        if self.broken is not None:
            return self.broken
        return PoolClosed("cannot schedule new futures after shutdown")

    # ------------------------------------------------- accepting map calls (mapjob.Host)

    def admit(self, job: MapJob, count: int) -> None:
        """Count so many more items of a map call as submitted; lock held."""
        if self.closed or self.broken is not None:
            raise self._refusal()
        job.epoch.left += count

    def dismiss(self, epoch: Epoch, count: int) -> None:
        """Count so many tasks as done; lock held."""
        epoch.left -= count
        if not epoch.left:
            self._emptied(epoch)

    def enqueue_job(self, job: MapJob) -> None:
        """Put a map call, or a chunk of one, on the queue and wake idle workers for it; lock held."""
        self.queue.push(job, job.terms.priority)
        self._rouse()

    def _rouse(self, most: int | None = None) -> None:
        """Wake idle workers to look at the queue; lock held."""
        idle = self.idle
        while idle and (most is None or most > 0):
            worker = idle[-1]
            del idle[-1]
            worker.wake()
            if most is not None:
                most -= 1

    # -------------------------------------------------------------------- workers

    def hire(self) -> None:
        """Start workers while there is more in the queue than idle workers to take it."""
        while True:
            with self.lock:
                if not self.queue or self.killed or self.broken is not None:
                    return
                if self.idle:
                    self._rouse(1)
                    return
                index = self._vacancy()
                if index is None:
                    return
                worker = self.workers[index] = self._make_worker(self, index)
            try:
                worker.start()
            except (RuntimeError, OSError) as error:
                with self.lock:
                    self.workers.pop(index, None)
                    others = bool(self.workers)
                if not others:
                    self.fail_all(self._cannot_start(error))
                return
            with self.lock:
                head = self.queue.head
                if not (len(head) > 1 or (head and head[0].__class__ is MapJob)):
                    return

    def _vacancy(self) -> int | None:
        """Give the smallest index without a worker, if there may be one more; lock held."""
        if len(self.workers) >= self.max_workers + self._extra:
            return None
        return next(index for index in count() if index not in self.workers)

    def _cannot_start(self, error: BaseException) -> BaseException:
        lost = WorkerLost(
            f"{self.name} could start no worker: {error}. Free threads, processes or memory, and submit again."
        )
        lost.__cause__ = error
        return lost

    def next_unit(self, worker: Worker) -> Any | None:
        """Give the next task or chunk, or None; then the worker is idle, or must leave.

        With None the worker was added to ``idle``, unless :meth:`should_leave`; it
        sleeps until its ``wake`` is called and asks again.
        """
        with self.lock:
            unit = worker.inbox
            if unit is not None:
                worker.inbox = None
                return unit
            return self._take(worker)

    def _take(self, worker: Worker) -> Any | None:
        """Take from the queue, or become idle; lock held."""
        if self.queue.head and not self.killed:
            unit = self.queue.pop(self.max_workers)
            if self._putters:
                self._room()
            if unit is not None:
                return unit
        if not self.should_leave() and worker not in self.idle:
            self.idle.append(worker)
        return None

    def take_ready(self, worker: Worker) -> Any | None:
        """Give the next task or chunk if there is one and it is known to be short; for keeping a worker busy."""
        del worker
        with self.lock:
            head = self.queue.head
            if not head or self.killed or self.broken is not None or self.idle:
                return None
            entry = head[0]
            fn = None
            if entry.__class__ is MapJob:
                fn = entry.fn
            elif entry.__class__ is Task and entry._call:
                fn = entry._call[0]
            seconds = None if fn is None else self.pace.of(fn)
            if seconds is None or seconds > TARGET / 2:
                return None
            unit = self.queue.pop(self.max_workers)
            if self._putters:
                self._room()
            return unit

    def stay_out(self, worker: Worker) -> Any | None:
        """Take a worker out of ``idle`` that cannot run anything now; give what was in its inbox."""
        with self.lock:
            if worker in self.idle:
                self.idle.remove(worker)
            unit, worker.inbox = worker.inbox, None
            return unit

    def settle_many(
        self, outcomes: list[tuple[Task[Any], Any, BaseException | None]], paces: list[Any]
    ) -> None:
        """Store the outcomes of tasks that came together, in one step where nobody waits for them.

        ``paces`` are lists of function, seconds and calls that were measured with them.
        """
        waited_for: list[Task[Any]] = []
        with self.lock:
            for fn, seconds, calls in paces:
                self.pace.measured(fn, seconds, calls)
            for task, value, error in outcomes:
                if task._state is not RUNNING:
                    continue
                extras = task.settle(value, error)
                self.tally.ended(task, error)
                if extras is None:
                    epoch = task._epoch
                    epoch.left -= 1
                    if not epoch.left:
                        self._emptied(epoch)
                else:
                    waited_for.append(task)
        for task in waited_for:
            task.announce(task._extras)  # type: ignore[arg-type]  # it had extras, and they stay
            with self.lock:
                self.dismiss(task._epoch, 1)

    def take_more(self, first: Task[Any], most: int) -> list[Task[Any]]:
        """Give tasks that travel with one just taken, because all are known to be short."""
        if not self.queue.head:  # a hint, read without the lock: what comes later travels later
            return []
        with self.lock:
            fn_seconds = self.pace.of(first._call[0]) if first._call is not None else None
            if fn_seconds is None or not self.queue.head or fn_seconds > TARGET:
                return []
            share = together(fn_seconds, len(self.queue.head), self.max_workers)
            tasks = self.queue.pop_small(self.pace, TARGET, min(most, share))
            if self._putters:
                self._room()
            return tasks

    def should_leave(self) -> bool:
        """Tell whether workers have nothing more to come; lock held, or a hint without."""
        return (
            self.killed or self.broken is not None or (self.closed and not self.ledger.unfinished)
        )

    def left(self, worker: Worker) -> None:
        """Forget a worker that has ended."""
        with self.lock:
            if self.workers.get(worker.index) is worker:
                del self.workers[worker.index]
            if worker in self.idle:
                self.idle.remove(worker)
            unit, worker.inbox = worker.inbox, None
            last = not self.workers and self.should_leave()
            on_end = self.on_end if last else None
            if last:
                self.on_end = None
        if unit is not None:
            self.give_back([unit])
        if last:
            self.timers.close()
            if on_end is not None:
                on_end()
        else:
            self.hire()

    def replace(self, worker: Worker, *, start: bool = True) -> None:
        """Put a new worker with the same index in the place of one that is written off."""
        with self.lock:
            if self.workers.get(worker.index) is not worker or self.should_leave():
                return
            if worker in self.idle:
                self.idle.remove(worker)
            fresh = self.workers[worker.index] = self._make_worker(self, worker.index)
        if start:
            try:
                fresh.start()
            except (RuntimeError, OSError) as error:
                with self.lock:
                    self.workers.pop(fresh.index, None)
                    others = bool(self.workers)
                if not others:
                    self.fail_all(self._cannot_start(error))

    # ------------------------------------------------------------------- settling

    def settle(
        self, task: Task[Any], result: Any, error: BaseException | None, *, by: Any = None
    ) -> bool:
        """Store a task's outcome and count it done; False if that is no longer ``by``'s to do."""
        with self.lock:
            if task._state is not RUNNING or (by is not None and by.written_off):
                return False
            extras = task.settle(result, error)
            if task._ended_at < task._started_at:
                task._ended_at = monotonic()  # settled from outside, while it ran
            self.tally.ended(task, error)
            if extras is None:
                # Result first, then the count: join() must not overtake the result.
                epoch = task._epoch
                epoch.left -= 1
                if not epoch.left:
                    self._emptied(epoch)
                return True
        task.announce(extras)
        with self.lock:
            self.dismiss(task._epoch, 1)
        return True

    def settle_measured(
        self, task: Task[Any], result: Any, error: BaseException | None, fn: Any, seconds: float
    ) -> None:
        """Store a task's outcome, and how long its function took."""
        with self.lock:
            if fn is not None:
                self.pace.measured(fn, seconds, 1)
        self.settle(task, result, error)

    def settle_cancelled(self, task: Task[Any]) -> None:
        """End a task that was running as cancelled."""
        with self.lock:
            if task._state is not RUNNING:
                return
            task._state = CANCELLED_AND_NOTIFIED
            task._drop_call()
            task._ended_at = monotonic()
            self.tally.cancelled += 1
            extras = task._extras
        if extras is not None:
            task.announce(extras)
        with self.lock:
            self.dismiss(task._epoch, 1)

    def fail(self, task: Task[Any], error: BaseException, *, by: Any = None) -> None:
        """Run a task again if its terms say so, else settle it with the error."""
        terms = task._terms
        if not terms.retries_after(error, task._attempts) or self.killed or self.broken is not None:
            self.settle(task, None, error, by=by)
            return
        with self.lock:
            if task._state is not RUNNING or (by is not None and by.written_off):
                return
            self.tally.retried += 1
        self._again(task, terms.pause_before(task._attempts))

    def _again(self, unit: Any, pause: float) -> None:
        """Queue a unit again after so many seconds."""
        if not pause:
            self.give_back([unit], front=False)
            return
        with self.lock:
            self._delayed.add(unit)
        self.timers.after(pause, lambda: self._due(unit))

    def _due(self, unit: Any) -> None:
        """Queue a unit whose pause is over, unless ``kill`` or ``fail_all`` had it first."""
        with self.lock:
            if unit not in self._delayed:
                return
            self._delayed.remove(unit)
        self.give_back([unit], front=False)

    def _hurry_delayed(self) -> None:
        """Bring to an end what waits for its next attempt, because none will come."""
        with self.lock:
            delayed, self._delayed = self._delayed, set()
        self.give_back(list(delayed), front=False)

    def fail_item(self, chunk: Chunk, offset: int, item: Any, error: BaseException) -> bool:
        """Run one item of a map call again if its terms say so; tell whether it will."""
        job = chunk.job
        attempts = chunk.attempts + 1
        if not job.terms.retries_after(error, attempts) or self.killed or self.broken is not None:
            return False
        again = Chunk(job, chunk.start + offset, (item,), attempts)
        with self.lock:
            self.tally.retried += 1
        self._again(again, job.terms.pause_before(attempts))
        return True

    def deliver(self, job: MapJob, piece: Piece, seconds: float = 0.0) -> None:
        """Store results of a map call and count its items done."""
        with self.lock:
            count = len(piece.values)
            failed = len(piece.errors) if piece.errors else 0
            self.tally.items(count, failed, seconds)
            job.deliver(piece)

    def give_back(self, units: list[Any], *, front: bool = True) -> None:
        """Queue again what a worker did not start (or failed to end): in order, before all others."""
        if not units:
            return
        failed: list[Task[Any]] = []
        with self.lock:
            gone = self.killed or self.broken is not None
            for unit in reversed(units) if front else units:
                if unit.__class__ is Task:
                    if unit._state is not RUNNING:
                        continue
                    if gone:
                        failed.append(unit)
                        continue
                    unit._state = PENDING
                    self.queue.waiting += 1
                    self.queue.push(unit, unit._terms.priority, front=front)
                elif gone:
                    unit.job.close()
                    unit.job.drop(unit.size)
                else:
                    self.queue.push(unit, unit.job.terms.priority, front=front)
            self._rouse(len(units))
        for task in failed:
            if self.broken is not None:
                self.settle(task, None, self.broken)
            else:
                self.settle_cancelled(task)
        self.hire()

    def withdrew(self, task: Task[Any]) -> None:
        """Count a task done that was cancelled while it waited; lock held (task.Owner)."""
        self.queue.waiting -= 1
        self.tally.cancelled += 1
        if self._putters:
            self._room()
        epoch = task._epoch
        epoch.left -= 1
        if not epoch.left:
            self._emptied(epoch)

    def _emptied(self, epoch: Epoch) -> None:
        """Tell who waits that an epoch has nothing left; lock held."""
        if epoch.sleepers:
            self.ledger.emptied(epoch)
        if self.closed and not self.ledger.unfinished:
            self._rouse()

    # -------------------------------------------------------- waiting (task.Owner too)

    def join(self, timeout: float | None) -> None:
        """Wait until everything submitted so far is done, open map calls included."""
        if self._orphaned is not None:
            raise self._orphaned
        self.refuse_inside("join")
        until = None if timeout is None else monotonic() + timeout
        with self.lock:
            epochs = self.ledger.seal()
        for epoch in epochs:
            self._finish_epoch(epoch, until, timeout)

    def _finish_epoch(self, epoch: Epoch, until: float | None, timeout: float | None) -> None:
        while True:
            # The input of open map calls is pulled here, in the thread that joins.
            for job in list(epoch.open_jobs):
                job.pull(ahead_of_settled=True)
            with self.lock:
                open_jobs = list(epoch.open_jobs)
                if not epoch.left and not open_jobs:
                    return
                if any(job.could_pull() for job in open_jobs):
                    continue  # what was in the way of pulling settled before we could sleep on it
                sleeper = sleep_on(epoch)
                for job in open_jobs:
                    job.watchers.append(sleeper)
            left = -1 if until is None else max(0.0, until - monotonic())
            if sleeper.acquire(timeout=left):
                self._forget(sleeper, epoch, open_jobs)
                continue
            self._forget(sleeper, epoch, open_jobs)
            raise self._join_timeout(timeout)

    def _forget(self, sleeper: Any, epoch: Epoch, jobs: list[MapJob]) -> None:
        with self.lock:
            for sleepers in (epoch.sleepers, *(job.watchers for job in jobs)):
                if sleeper in sleepers:
                    sleepers.remove(sleeper)

    def _join_timeout(self, timeout: float | None) -> JoinTimeout:
        running = self.running()
        with self.lock:
            unfinished = self.ledger.unfinished
        shown = ", ".join(f"{name} for {age:.1f} s" for name, age in running[:5])
        more = f" and {len(running) - 5} more" if len(running) > 5 else ""
        return JoinTimeout(
            f"{self.name}: {unfinished} tasks are not done after {timeout} s; "
            f"running: {shown or 'none'}{more}. The pool stays open: join again, or cancel what hangs.",
            unfinished=unfinished,
            running=tuple(running),
        )

    def running(self) -> list[tuple[str, float]]:
        """Name every task that runs now, with its age in seconds, oldest first."""
        with self.lock:
            workers = list(self.workers.values())
        found = [entry for worker in workers for entry in worker.running()]
        return sorted(found, key=lambda entry: -entry[1])

    def refuse_inside(self, call: str) -> None:
        """Raise WouldDeadlock in a task or callback of this very pool."""
        worker = here.worker
        if worker is not None and worker.scheduler is self:
            message = (
                f"{call}() of {self.name} was called by one of its own workers (in a task, or in a callback "
                "of one) and would wait for itself. Call it from outside, or wait for single tasks."
            )
            raise WouldDeadlock(message)

    def assist(self, task: Task[Any], timeout: float | None) -> None:
        """Help a task along for which the calling thread is about to wait.

        A worker of this pool that waits for a task still in the queue runs it
        itself: so a task may wait for others of its pool even with one worker.
        """
        if self._orphaned is not None:
            raise self._orphaned
        worker = here.worker
        if worker is None or worker.scheduler is not self:
            # Outside: a worker may let the thread that waits read the result itself.
            runs = self.workers.get(task._worker) if task._worker is not None else None
            wait_for = getattr(runs, "wait_for", None)
            if wait_for is not None:
                wait_for(task, timeout)
            return
        if not worker.can_nest and not task.done():
            message = (
                f"a callback of {self.name} waits for {describe(task)}, but it runs in the thread that would settle "
                "it. Submit from callbacks, or wait outside of them."
            )
            raise WouldDeadlock(message)
        with self.lock:
            claimed = task._state is PENDING and worker.can_nest
            if claimed:
                task._state = RUNNING
                self.queue.waiting -= 1
                if self._putters:
                    self._room()
        if claimed:
            worker.run_nested(task)
        else:
            self.lend_worker(worker)

    def before_foreign_wait(self, task: Task[Any]) -> None:
        """Add a worker when one of ours waits in ``concurrent.futures.wait`` or ``as_completed``."""
        worker = here.worker
        if worker is not None and worker.scheduler is self and not task.done():
            self.lend_worker(worker)

    def assist_job(self, job: Any) -> None:
        """Add a worker when one of ours is about to wait for a map call of its own pool."""
        worker = here.worker
        if worker is not None and worker.scheduler is self and not job.finished:
            self.lend_worker(worker)

    def lend_worker(self, worker: Any) -> None:
        """Allow one worker more, once for each worker that waits for its own pool."""
        with self.lock:
            if worker.lent or not self.queue:
                return
            worker.lent = True
            self._extra += 1
        self.hire()

    # --------------------------------------------------------------------- ending

    def close(self) -> None:
        """Accept nothing more; what was accepted runs, then the workers leave."""
        with self.lock:
            if self.closed:
                return
            self.closed = True
            for job in self.ledger.open_jobs:
                job.close()
            self._wake_putters()
            if not self.ledger.unfinished:
                self._rouse()
            last = not self.workers and self.should_leave()
            on_end, self.on_end = (self.on_end, None) if last else (None, self.on_end)
        if last:
            self.timers.close()
            if on_end is not None:
                on_end()
        else:
            self.hire()

    def drain(self, until: float | None = None) -> bool:
        """Wait until every worker has left; tell whether all have."""
        while True:
            with self.lock:
                workers = [w for w in self.workers.values() if w is not here.worker]
            if not workers:
                return True
            for worker in workers:
                if not worker.join(None if until is None else max(0.0, until - monotonic())):
                    return False

    def cancel_queued(self) -> int:
        """Cancel everything that has not started; give how many tasks that were."""
        with self.lock:
            entries = self.queue.clear()
            before = self.ledger.unfinished
            announce: list[Task[Any]] = []
            for entry in entries:
                if entry.__class__ is not Task:
                    (entry.job if entry.__class__ is Chunk else entry).close()
                    if entry.__class__ is Chunk:
                        entry.job.drop(entry.size)
                elif entry._state is PENDING:
                    entry._state = CANCELLED_AND_NOTIFIED
                    entry._drop_call()
                    if entry._extras is None:
                        self.withdrew(entry)
                    else:
                        announce.append(entry)
            cancelled = before - self.ledger.unfinished
        for task in announce:
            task.announce(task._extras)  # type: ignore[arg-type]  # it had extras, and they stay
            with self.lock:
                self.withdrew(task)
        return cancelled + len(announce)

    def orphan(self, reason: BaseException) -> None:
        """Become unusable in a forked child: no worker is here, and none can be."""
        self.broken = self._orphaned = reason
        self.workers.clear()
        self.idle.clear()
        self.on_end = None

    def kill(self) -> None:
        """End the workers now; cancel what is queued, lose what runs."""
        with self.lock:
            self.closed = True
            self.killed = True
            for job in self.ledger.open_jobs:
                job.close()
            self._wake_putters()
        self.cancel_queued()
        self._hurry_delayed()
        with self.lock:
            workers = list(self.workers.values())
        for worker in workers:
            worker.kill()
        with self.lock:
            self._rouse()
            nobody = not self.workers
            on_end, self.on_end = (self.on_end, None) if nobody else (None, self.on_end)
        if nobody:
            self.timers.close()
            if on_end is not None:
                on_end()

    def fail_all(self, reason: BaseException, *, for_good: bool = False) -> None:
        """Fail everything that waits; with ``for_good``, also whatever comes later."""
        with self.lock:
            if for_good and self.broken is None:
                self.broken = reason
            entries = self.queue.clear()
            tasks: list[Task[Any]] = []
            for entry in entries:
                if entry.__class__ is Task:
                    if entry._state is PENDING:
                        entry._state = RUNNING  # claimed: settled below
                        self.queue.waiting -= 1
                        tasks.append(entry)
                else:
                    job = entry.job if entry.__class__ is Chunk else entry
                    self._fail_job(job, entry, reason)
            if for_good:
                for job in self.ledger.open_jobs:
                    self._fail_job(job, job, reason)
            self._wake_putters()
        for task in tasks:
            self.settle(task, None, reason)
        if for_good:
            self._hurry_delayed()
            with self.lock:
                self._rouse()

    def _fail_job(self, job: MapJob, entry: Any, reason: BaseException) -> None:
        """Give every undrawn item of a map call the same error; lock held."""
        if entry.__class__ is Chunk:
            job.deliver(
                Piece(entry.start, [None] * entry.size, dict.fromkeys(range(entry.size), reason))
            )
            return
        job._end_of_source()
        chunk, more = job.draw(1)
        while chunk is not None:
            size = chunk.size
            job.deliver(Piece(chunk.start, [None] * size, dict.fromkeys(range(size), reason)))
            if not more:
                break
            chunk, more = job.draw(1)

    def _wake_putters(self) -> None:
        while self._putters:
            self._putters.popleft().release()

    def ask_to_end(self, task: Task[Any]) -> None:
        """Tell the worker that has a running task to let it see that it is not wanted (task.Owner)."""
        with self.lock:
            worker = self.workers.get(task._worker) if task._worker is not None else None
        if worker is not None:
            worker.ask_to_end(task)

    def kill_task(self, task: Task[Any]) -> bool:
        """End a running task through the worker that has it (task.Owner)."""
        with self.lock:
            worker = self.workers.get(task._worker) if task._worker is not None else None
            if task._state is FINISHED or worker is None:
                return False
        return worker.end_task(task)


class _LoopSleeper:
    """Stands among the sleepers that wait for room, for a coroutine."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        self.woken = asyncio.Event()
        self._loop = loop

    def release(self) -> None:
        """Wake the coroutine, from any thread."""
        self._loop.call_soon_threadsafe(self.woken.set)


def describe(task: Task[Any]) -> str:
    """Name a task for messages: number and function."""
    return f"task {task.id} ({task._name})"


def describe_item(chunk: Chunk, offset: int) -> str:
    """Name an item of a map call for messages: position and function."""
    name = chunk.job.terms.name or function_name(chunk.job.fn)
    return f"item {chunk.start + offset} of map({name})"
