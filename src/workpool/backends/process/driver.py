"""The daemon thread of one worker process: feeds it, settles what comes back, and sees it die.

Whoever has the *turn* (a lock) may use pipes, flights and process handle. The
driver has it but for the time it sleeps. Then a thread that submits may take it to
send a task right away (``hand_over``), and a thread that waits for a result may take
it to read that result itself (``wait_for``): so a call on an idle pool costs no switch
of threads in this process. Neither ever waits for the turn. An exception of a
signal in the middle of that leaves the books in doubt: the process is then ended,
and the journal tells what had begun.

Everybody else leaves a word in ``_orders`` and wakes the driver by one write.

A life of the process: started, ready, busy and idle by turns, then retired or dead.
Death is told by the status pipe, which only the keeper holds. The result pipe
is drained first, then the journal: an outcome that was finished is never lost.
What had begun and has no outcome is the one call that is charged; what had not
begun goes back to the front of the queue.

Batches. Calls known to be short travel together, and the next batch is sent while
the last is being worked on. A call that takes longer than thought does not hold
up the rest of its batch: they are recalled (``_recall_at``) and run elsewhere.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from workpool.backends.process.death import cause_of_death, out_of_memory_kills
from workpool.backends.process.flights import Flight, Flights
from workpool.backends.process.outcomes import fail_item, reset, take_outcomes
from workpool.backends.process.packing import pack_chunk, pack_tasks
from workpool.errors import InitializerFailed, TimeLimitExceeded, WorkerLost, WorkerStartFailed
from workpool.ipc import pickling, worker
from workpool.ipc.calm import calmly
from workpool.ipc.frames import unpack_payload
from workpool.ipc.launch import WorkerHandle, launch
from workpool.ipc.outbox import DONE, VALUES
from workpool.ipc.watch import CAN_SHARE, Watch
from workpool.scheduling.mapjob import Piece
from workpool.scheduling.pace import TARGET
from workpool.scheduling.worker import describe, describe_item
from workpool.situation import here
from workpool.task import RUNNING, Task

if TYPE_CHECKING:
    from workpool.backends.process.backend import ProcessBackend
    from workpool.scheduling.scheduler import Scheduler

__all__ = ["ProcessWorker"]

_log = logging.getLogger("workpool")

_DEATHS_IN_A_ROW = 5  # lives that never became ready before the pool gives up
_PATIENCE = 3.0  # times the expected duration before a batch is recalled
_SHORTEST_PATIENCE = 0.01  # seconds
_MOST_TASKS = 1_024  # in one frame

# What others ask of a worker: to be killed (with the name of why), to let a task see that it is
# not wanted, or to end with a task, if it runs it, and say when that is done.
Order: TypeAlias = "str | Task[Any] | tuple[Task[Any], threading.Event]"


class ProcessWorker:
    """One worker: this thread, and the process it keeps alive."""

    can_nest = False

    def __init__(self, backend: ProcessBackend, scheduler: Scheduler, index: int) -> None:
        self.scheduler = scheduler
        self.index = index
        self.inbox: Any = None
        self.lent = False
        self.written_off = False
        self._backend = backend
        self._turn = threading.Lock()  # guards all below but _orders; see above
        self._orders: deque[Order] = deque()  # appended to by anyone, taken by the driver
        self._wake_r = self._wake_w = -1
        self.wake: Any = int  # does nothing until there is somebody to be woken
        self._thread = threading.Thread(
            target=self._run, name=f"{backend.pool}-{index}", daemon=True
        )
        self._handle: WorkerHandle | None = None
        self._watch: Watch | None = None  # what the driver sleeps on
        self._poller = select.poll()  # what a thread that waits for a result sleeps on
        self._flights = Flights()
        self._serving = False  # the process is ready, and was not told to leave
        self._in_doubt = False  # somebody was interrupted while it was their turn
        self._batch = 1  # calls in the latest batch
        self._ran = 0  # calls finished in this life
        self._failed_starts = 0  # in a row
        self._doomed: Order | BaseException | None = None  # why the process was killed by us
        self._recall_at: float | None = None

    def start(self) -> None:
        """Start the thread; the process follows. An OSError or RuntimeError if the system has none to give."""
        self._wake_r, self._wake_w = os.pipe()
        try:
            os.set_blocking(self._wake_r, False)
            os.set_blocking(self._wake_w, False)
            self.wake = partial(_ring, self._wake_w)
            self._thread.start()
        except BaseException:
            self._close_wake()
            raise

    def join(self, timeout: float | None) -> bool:
        """Wait for the thread's end, and so the process's."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def kill(self) -> None:
        """Have the driver kill the process."""
        self._order("Pool.kill()")

    def end_task(self, task: Task[Any]) -> bool:
        """Have the driver end the process if it runs the task; waits until that is settled."""
        if task._state is not RUNNING:
            return False
        heard = threading.Event()
        self._order((task, heard))
        heard.wait()
        return task.cancelled()

    def ask_to_end(self, task: Task[Any]) -> None:
        """Have the worker let the task see that it is not wanted any more."""
        self._order(task)

    def running(self) -> list[tuple[str, float]]:
        """Name the call that runs, with its age in seconds, as the journal has it."""
        handle, flight = self._handle, self._flights.current
        if handle is None or flight is None:
            return []
        try:
            number, since = handle.journal.begun()
        except ValueError:  # closed this moment
            return []
        if number < flight.first + flight.done:
            return []
        return [(_name_of(flight, number), max(0.0, monotonic() - since))]

    def _order(self, order: Order) -> None:
        self._orders.append(order)
        self.wake()

    # ---------------------------------------------------- what other threads do themselves

    def hand_over(self) -> None:
        """Send what is in the inbox from this very thread, if the driver sleeps; else wake it."""
        if not self._turn.acquire(blocking=False):
            self.wake()
            return
        try:
            handle = self._handle
            if handle is None or not self._serving or self._in_doubt or self._doomed is not None:
                self.wake()
                return
            self._in_doubt = True
            if not calmly(self._feed, handle) or handle.pending or self._due(handle) is not None:
                self.wake()
            self._in_doubt = False
        finally:
            self._turn.release()

    def wait_for(self, task: Task[Any], timeout: float | None) -> None:
        """Read the outcome of a task from this very thread, if the driver sleeps and the task is all there is."""
        if not CAN_SHARE or not self._turn.acquire(blocking=False):
            return
        before = here.worker
        try:
            handle, watch, flight = self._handle, self._watch, self._flights.current
            if handle is None or watch is None or flight is None or flight.task is not task:
                return
            if (
                not self._serving
                or self._in_doubt
                or self._doomed is not None
                or self._due(handle) is not None
            ):
                return
            here.worker = self
            watch.ignore(handle.result_r)
            try:
                self._read_for(task, handle, None if timeout is None else monotonic() + timeout)
            finally:
                watch.heed(handle.result_r)
            if handle.pending or self._orders or self._due(handle) is not None:
                self.wake()
        finally:
            here.worker = before
            self._turn.release()
            if self._in_doubt:
                self.wake()

    def _read_for(self, task: Task[Any], handle: WorkerHandle, until: float | None) -> None:
        poll, result_r = self._poller.poll, handle.result_r
        # A task that failed may run again, and with another worker: then it is no flight of ours.
        while task._state is RUNNING and getattr(self._flights.current, "task", None) is task:
            ready = poll(None if until is None else max(0.0, until - monotonic()) * 1000)
            if len(ready) != 1 or ready[0][0] != result_r:
                return  # late, or there is something for the driver to do
            self._in_doubt = True
            calmly(self._read_and_feed, handle)
            self._in_doubt = False

    def _read_and_feed(self, handle: WorkerHandle) -> None:
        """Settle what came; when that was it, send what is to be done next."""
        self._take_in(handle.receive())
        if not self._flights and not self._feed(handle):
            self.wake()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        here.worker = self
        self._turn.acquire()
        try:
            while self._live():
                pass
        except BaseException as error:
            # A fault of ours must not hang anybody: everything fails with it.
            _log.exception("worker %d of %s failed", self.index, self.scheduler.name)
            self._fail_flights(error)
            self.scheduler.fail_all(error, for_good=True)
        finally:
            self._end_process()
            self._turn.release()
            here.worker = None
            self.scheduler.left(self)
            while self._orders:
                _answer(self._orders.popleft())
            self._close_wake()

    def _close_wake(self) -> None:
        self.wake = int  # nobody is there to be woken
        os.close(self._wake_r)
        os.close(self._wake_w)

    def _live(self) -> bool:
        """Keep one process from its start to its end; tell whether there should be another."""
        backend = self._backend
        self._ran = 0
        self._doomed = None
        self._in_doubt = False
        try:
            self._handle = handle = launch(
                backend.start_method, backend.setup, pool=backend.pool, index=self.index
            )
        except OSError as error:
            return self._could_not_start(error)
        fds = [handle.result_r, handle.status_r, self._wake_r]
        self._watch = Watch(fds)
        self._poller = select.poll()
        for fd in fds:
            self._poller.register(fd, select.POLLIN)
        if self._begin(handle):
            self._failed_starts = 0
            self._serving = True
            self._serve(handle)
        else:
            self._failed_starts += 1
        return self._next_life(handle)

    def _serve(self, handle: WorkerHandle) -> None:
        """Feed the process and settle what it gives, until it is dead."""
        while True:
            if self._serving and not self._feed(handle):
                self._serving = False
                handle.leave()
            ready = self._sleep(handle, self._due(handle))
            if self._in_doubt and self._doomed is None:
                self._doomed = "an interruption (KeyboardInterrupt) of its driver"
                handle.kill()
            if self._wake_r in ready:
                self._obey(handle)
            if handle.result_r in ready:
                self._take_in(handle.receive())
            if handle.status_r in ready:
                return
            self._look_at_the_clock(handle)

    def _sleep(self, handle: WorkerHandle, due: float | None) -> set[int]:
        """Wait for something to happen, and let others have their turn meanwhile."""
        watch = self._watch
        assert watch is not None
        room_on = handle.task_w if handle.pending else -1
        self._turn.release()
        try:
            ready = watch.wait(
                None if due is None else max(0.0, due - monotonic()) + 0.0005, room_on=room_on
            )
        finally:
            self._turn.acquire()
        if handle.pending:
            handle.push()
        if self._wake_r in ready:
            with suppress(BlockingIOError):
                os.read(self._wake_r, 4096)
        return ready

    def _begin(self, handle: WorkerHandle) -> bool:
        """Wait until the worker is ready; False when it is not going to be."""
        entering = False
        limit = self._backend.settings.start_timeout
        until = None if limit is None else monotonic() + limit
        while True:
            ready = self._sleep(handle, until)
            if self._wake_r in ready:
                self._obey(handle)
            for header, _ in handle.receive():
                if header[0] == worker.READY:
                    return True
                entering = entering or header[0] == worker.ENTERING
                if header[0] == worker.FAILED:
                    self._cannot_begin(pickling.load_error(header[1]))
                    handle.kill()
                    return False
            if handle.status_r in ready:
                if entering and self._doomed is None and self._backend.setup.does_something:
                    handle.reap()
                    why, _ = cause_of_death(handle.exitcode, out_of_memory_kills())
                    died = InitializerFailed(
                        f"worker {self.index} of {self.scheduler.name} died of {why} in its initializer or "
                        "worker_context; the pool takes no more tasks."
                    )
                    self.scheduler.fail_all(died, for_good=True)
                return False
            if until is not None and monotonic() >= until:
                slow = InitializerFailed(
                    f"worker {self.index} of {self.scheduler.name} was not ready within start_timeout={limit} s: its "
                    "initializer or worker_context (or the import of __main__) hangs. The pool takes no more tasks."
                )
                self.scheduler.fail_all(slow, for_good=True)
                handle.kill()
                return False

    def _cannot_begin(self, error: BaseException) -> None:
        failed = InitializerFailed(
            f"the initializer or worker_context of {self.scheduler.name} (or the import of __main__) raised "
            f"{type(error).__name__}: {error} in worker {self.index}; the pool takes no more tasks. See the cause."
        )
        failed.__cause__ = error
        self.scheduler.fail_all(failed, for_good=True)

    def _could_not_start(self, error: OSError) -> bool:
        """The system gave no process: leave it to the other workers, or fail what waits."""
        scheduler = self.scheduler
        unit = scheduler.stay_out(self)
        lost = WorkerLost(
            f"{scheduler.name} could start no worker process: {error}. Free processes, memory or file descriptors, "
            "and submit again.",
            worker=self.index,
        )
        lost.__cause__ = error
        with scheduler.lock:
            others = any(other is not self for other in scheduler.workers.values())
        if unit is not None:
            scheduler.give_back([unit])
        if not others:
            scheduler.fail_all(lost)
        return False

    # --------------------------------------------------------------- feeding the process

    def _feed(self, handle: WorkerHandle) -> bool:
        """Send what there is to do and room for; False when there will be nothing more."""
        scheduler, flights = self.scheduler, self._flights
        most = self._backend.settings.max_tasks_per_worker
        while not handle.pending:
            if most is not None and self._ran + flights.outstanding >= most:
                return bool(flights)
            if not flights:
                unit = scheduler.next_unit(self)
                if unit is None:
                    return not scheduler.should_leave()
            elif flights.outstanding > self._batch:
                return True
            else:
                # Keep the worker busy while the next batch is on its way, and no more than that.
                unit = scheduler.take_ready(self)
                if unit is None:
                    return True
            self._send(handle, unit)
        return True

    def _send(self, handle: WorkerHandle, unit: Any) -> None:
        if unit.__class__ is Task:
            tasks = [unit]
            if unit._terms.time_limit is None:
                limit = self._backend.settings.max_tasks_per_worker
                most = (
                    _MOST_TASKS
                    if limit is None
                    else limit - self._ran - self._flights.outstanding - 1
                )
                tasks += self.scheduler.take_more(unit, most)
            fn = unit._call[0] if unit._call is not None else None
            size = len(tasks)
            frame = pack_tasks(self.scheduler, self._flights, tasks, self.index)
        else:
            fn, size = unit.job.fn, unit.size
            frame = pack_chunk(self.scheduler, self._flights, unit)
        if frame is None:
            return
        self._batch = size
        self._recall_at = None
        if self._flights.outstanding > 1:
            seconds = self.scheduler.pace.of(fn)
            expected = TARGET if seconds is None else seconds * self._flights.outstanding
            self._recall_at = monotonic() + max(_SHORTEST_PATIENCE, _PATIENCE * expected)
        handle.post(frame)

    # ------------------------------------------------------------------ what comes back

    def _take_in(self, frames: list[Any]) -> None:
        """Settle what frames from the worker say."""
        for header, payloads in frames:
            kind = header[0]
            if kind == DONE:
                outcomes: list[Any] = header[1]
                if len(payloads):
                    at = 0
                    for place, outcome in enumerate(outcomes):
                        payload, at = unpack_payload(outcome[2], payloads, at)
                        outcomes[place] = (*outcome[:2], payload, *outcome[3:])
                self._ran += take_outcomes(self.scheduler, self._flights, outcomes)
            elif kind == worker.BACK:
                self._recall_at = None
                self.scheduler.give_back(reset(self._flights.take_from(header[1] + 1)))
            elif kind == worker.GONE:
                _log.error(
                    "worker_context of %s failed to leave worker %d",
                    self.scheduler.name,
                    self.index,
                    exc_info=pickling.load_error(header[1]),
                )

    # ------------------------------------------------------------------ limits and orders

    def _due(self, handle: WorkerHandle) -> float | None:
        """Give the moment at which the clock must be looked at, or None."""
        flight = self._flights.current
        if flight is None or self._doomed is not None:
            return None
        due = self._recall_at
        limit = flight.time_limit
        if limit is not None:
            number, since = handle.journal.begun()
            # Not begun (or not seen yet): look again when it could be due at the earliest.
            late = (since if number >= flight.first + flight.done else monotonic()) + limit
            due = late if due is None else min(due, late)
        return due

    def _look_at_the_clock(self, handle: WorkerHandle) -> None:
        """Kill a worker whose call is past its limit; recall what waits behind a slow one."""
        flight = self._flights.current
        if flight is None or self._doomed is not None:
            return
        now = monotonic()
        limit = flight.time_limit
        if limit is not None:
            number, since = handle.journal.begun()
            if number >= flight.first + flight.done and now >= since + limit:
                name = _name_of(flight, number)
                self._doomed = TimeLimitExceeded(
                    f"{name} ran longer than its time limit of {limit} s; its worker was ended and replaced.",
                    time_limit=limit,
                    task=flight.task._name if flight.task is not None else name,
                )
                handle.kill()
                return
        if self._recall_at is not None and now >= self._recall_at:
            self._recall_at = None
            handle.control((worker.RECALL, self._flights.next_number - 1))

    def _obey(self, handle: WorkerHandle) -> None:
        """Do what others have asked of this worker."""
        while self._orders:
            order = self._orders.popleft()
            if isinstance(order, str):
                self._doomed = self._doomed or order
                handle.kill()
                continue
            if isinstance(order, Task):
                number = self._flights.number_of(order)
                if number is not None:
                    handle.control((worker.CANCEL, number))
                continue
            task, _ = order
            flight = self._flights.current
            begun, _ = handle.journal.begun()
            if (
                flight is None
                or flight.task is not task
                or begun < flight.first
                or self._doomed is not None
            ):
                _answer(order)  # it has ended, or has not begun, or its worker is being ended
            else:
                self._doomed = order
                handle.kill()

    # ---------------------------------------------------------------------- the end

    def _next_life(self, handle: WorkerHandle) -> bool:
        """Account for a process that has ended; tell whether it should have a successor."""
        scheduler, flights = self.scheduler, self._flights
        kills_before = out_of_memory_kills()
        handle.reap()
        self._take_in(handle.receive_rest())
        begun, outcomes, sliced = handle.journal.last_words()
        take_outcomes(
            scheduler, flights, [outcome for outcome in outcomes if self._unanswered(outcome[0])]
        )
        if sliced is not None:
            self._take_slice(*sliced)
        ordered = (
            not self._serving and not flights and self._doomed is None and handle.exitcode == 0
        )
        self._serving = False
        self._handle = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        exitcode = handle.exitcode
        handle.close()
        unit = scheduler.stay_out(self)
        why, out_of_memory = cause_of_death(exitcode, kills_before)
        self._charge(begun, exitcode, why, out_of_memory=out_of_memory)
        scheduler.give_back([*reset(flights.take_from(0)), *([] if unit is None else [unit])])
        self._recall_at = None
        if not ordered:
            with scheduler.lock:
                scheduler.tally.lost += 1
        if self._failed_starts >= _DEATHS_IN_A_ROW:
            scheduler.fail_all(
                WorkerStartFailed(
                    f"worker {self.index} of {scheduler.name} died at each of its last {self._failed_starts} starts, "
                    f"the last time of {why}; the pool takes no more tasks. Look at what __main__ and the "
                    "initializer do."
                ),
                for_good=True,
            )
        with scheduler.lock:
            return not scheduler.should_leave()

    def _unanswered(self, number: int) -> bool:
        flight = self._flights.current
        return flight is not None and number >= flight.first + flight.done

    def _take_slice(self, first: int, values: list[Any]) -> None:
        """Take in the values that a killed worker's journal has of a slice, but for those that came already."""
        flight = self._flights.current
        if flight is None or not values:
            return
        known = max(0, flight.first + flight.done - first)
        fresh = values[known : known + flight.size - flight.done]
        if fresh and first + known == flight.first + flight.done:
            outcome = (first + known, VALUES, fresh, 0, 0, len(fresh))
            take_outcomes(self.scheduler, self._flights, [outcome])

    def _charge(self, begun: int, exitcode: int | None, why: str, *, out_of_memory: bool) -> None:
        """Settle the one call that had begun and has no outcome."""
        flight = self._flights.current
        if flight is None or begun < flight.first + flight.done:
            _answer(self._doomed)
            return
        doomed = self._doomed
        name = _name_of(flight, begun)
        if isinstance(doomed, TimeLimitExceeded):
            error: BaseException = doomed
        else:
            if isinstance(doomed, str):
                why = doomed
            error = WorkerLost(
                f"worker {self.index} of {self.scheduler.name} died of {why} while it ran {name}. "
                "Other tasks are not affected; retries=1 would run this one again.",
                task=flight.task._name if flight.task is not None else name,
                worker=self.index,
                exitcode=exitcode,
                out_of_memory=out_of_memory,
            )
        self._flights.answered(flight.first + flight.done)
        task = flight.task
        if task is None:
            fail_item(self.scheduler, flight, error)
            return
        task._ended_at = monotonic()
        if isinstance(doomed, tuple) and doomed[0] is task:
            self.scheduler.settle_cancelled(task)
        else:
            self.scheduler.fail(task, error)
        _answer(doomed)

    def _fail_flights(self, error: BaseException) -> None:
        for unit in self._flights.take_from(0):
            if unit.__class__ is Task:
                self.scheduler.settle(unit, None, error)
            else:
                piece = Piece(
                    unit.start, [None] * unit.size, dict.fromkeys(range(unit.size), error)
                )
                self.scheduler.deliver(unit.job, piece)

    def _end_process(self) -> None:
        """See that no process is left, whatever went wrong."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.kill()
            handle.reap()
            handle.close()
        if self._watch is not None:
            self._watch.close()
            self._watch = None


def _name_of(flight: Flight, number: int) -> str:
    if flight.task is not None:
        return describe(flight.task)
    assert flight.chunk is not None
    return describe_item(flight.chunk, number - flight.first)


def _answer(order: Order | BaseException | None) -> None:
    """Tell whoever gave an order that it is dealt with."""
    if isinstance(order, tuple):
        order[1].set()


def _ring(fd: int) -> None:
    """Wake who watches the other end; a full pipe means that it will wake anyway."""
    with suppress(BlockingIOError, OSError):
        os.write(fd, b"!")
