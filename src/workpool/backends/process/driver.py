"""The daemon thread of one worker process: feeds it, settles what comes back, and sees it die.

Everything here happens in that one thread, so the pipes, the flights and the
process handle need no lock. Others reach it through its ``inbox`` (a task handed
over) and ``orders`` (end this task, die), and wake it by one write.

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
from typing import TYPE_CHECKING, Any

from workpool.backends.process.death import cause_of_death, out_of_memory_kills
from workpool.backends.process.flights import Flight, Flights
from workpool.current import here
from workpool.errors import (
    InitializerFailed,
    NotPicklable,
    TimeLimitExceeded,
    WorkerLost,
    WorkerStartFailed,
)
from workpool.ipc import pickling, worker
from workpool.ipc.frames import LARGE, pack, unpack_payload
from workpool.ipc.launch import WorkerHandle, launch
from workpool.scheduling.mapjob import Chunk, Piece
from workpool.scheduling.pace import MOST_TOGETHER, TARGET
from workpool.scheduling.scheduler import Scheduler, describe
from workpool.task import RUNNING, Task, function_name

if TYPE_CHECKING:
    from workpool.backends.process.backend import ProcessBackend

__all__ = ["ProcessWorker"]

_log = logging.getLogger("workpool")

_DEATHS_IN_A_ROW = 5  # lives without one finished task before the pool gives up
_PATIENCE = 3.0  # times the expected duration before a batch is recalled
_SHORTEST_PATIENCE = 0.01  # seconds
_MOST_BYTES = 1 << 20  # of pickled calls in one batch


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
        self._orders: deque[Any] = deque()  # appended to by anyone, taken by the driver
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        self.wake = partial(_ring, self._wake_w)
        self._thread = threading.Thread(target=self._run, name=f"{backend.pool}-{index}", daemon=True)
        self._handle: WorkerHandle | None = None
        self._flights = Flights()
        self._ran = 0  # calls finished in this life
        self._barren = 0  # lives in a row that finished nothing
        self._doomed: Any = None  # why the process was killed by us: an error, or "cancelled"
        self._recall_at: float | None = None
        self._leaving = False

    def start(self) -> None:
        """Start the thread; the process follows."""
        self._thread.start()

    def join(self, timeout: float | None) -> bool:
        """Wait for the thread's end, and so the process's."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def kill(self) -> None:
        """Have the driver kill the process."""
        self._order("kill")

    def end_task(self, task: Task[Any]) -> bool:
        """Have the driver end the process if it runs the task; waits until that is settled."""
        if task._state is not RUNNING:
            return False
        heard = threading.Event()
        self._order((task, heard))
        heard.wait()
        return task.cancelled()

    def running(self) -> list[tuple[str, float]]:
        """Name the call that runs, with its age in seconds, as the journal has it."""
        handle = self._handle
        flight = self._flights.current
        if handle is None or flight is None:
            return []
        try:
            number, since = handle.journal.begun()
        except ValueError:  # closed this moment
            return []
        if number < flight.first + flight.done:
            return []
        return [(self._name_of(flight, number), max(0.0, monotonic() - since))]

    def _order(self, order: Any) -> None:
        self._orders.append(order)
        self.wake()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        here.worker = self
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
            here.worker = None
            self.scheduler.left(self)
            self._answer_orders()
            self.wake = int
            os.close(self._wake_r)
            os.close(self._wake_w)

    def _live(self) -> bool:
        """Keep one process from its start to its end; tell whether there should be another."""
        backend, scheduler = self._backend, self.scheduler
        self._ran = 0
        self._doomed = None
        self._leaving = False
        try:
            self._handle = handle = launch(
                backend.start_method, backend.setup, pool=backend.pool, index=self.index
            )
        except OSError as error:
            return self._could_not_start(error)
        poller = select.poll()
        poller.register(handle.result_r, select.POLLIN)
        poller.register(handle.status_r, select.POLLIN)
        poller.register(self._wake_r, select.POLLIN)
        if not self._begin(handle, poller):
            return self._next_life(started=False)
        while True:
            if not self._leaving and not self._feed(handle):
                self._leaving = True
                handle.leave()
            writing = handle.pending
            if writing:
                poller.register(handle.task_w, select.POLLOUT)
            ready = dict(poller.poll(self._patience(handle)))
            if writing:
                poller.unregister(handle.task_w)
                handle.push()
            if self._wake_r in ready:
                _hush(self._wake_r)
                self._obey(handle)
            if handle.result_r in ready:
                self._take_in(handle.receive())
            if handle.status_r in ready:
                break
            self._look_at_the_clock(handle)
        return self._next_life(started=True)

    def _begin(self, handle: WorkerHandle, poller: select.poll) -> bool:
        """Wait until the worker is ready; False when it is not going to be."""
        limit = self._backend.settings.start_timeout
        until = None if limit is None else monotonic() + limit
        while True:
            if handle.pending:
                poller.register(handle.task_w, select.POLLOUT)
            left = None if until is None else max(0.0, until - monotonic()) * 1000
            ready = dict(poller.poll(left))
            if handle.pending:
                poller.unregister(handle.task_w)
                handle.push()
            elif handle.task_w in ready:
                poller.unregister(handle.task_w)
            if self._wake_r in ready:
                _hush(self._wake_r)
                self._obey(handle)
            if handle.result_r in ready or handle.status_r in ready:
                for header, _ in handle.receive():
                    if header[0] == worker.READY:
                        return True
                    if header[0] == worker.FAILED:
                        self._cannot_begin(pickling.load_error(header[1]))
                        handle.kill()
                        return False
            if handle.status_r in ready:
                return False
            if until is not None and monotonic() >= until:
                handle.kill()
                slow = InitializerFailed(
                    f"worker {self.index} of {self.scheduler.name} was not ready within start_timeout={limit} s: its "
                    "initializer or worker_context (or the import of __main__) hangs. The pool takes no more tasks."
                )
                self.scheduler.fail_all(slow, for_good=True)
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
        with scheduler.lock:
            others = [w for w in scheduler.workers.values() if w is not self]
        lost = WorkerLost(
            f"{scheduler.name} could start no worker process: {error}. Free processes, memory or file descriptors, "
            "and submit again.",
            worker=self.index,
        )
        lost.__cause__ = error
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
            else:
                # Keep the worker busy while the next batch is on its way, and no more than that.
                flight = flights.current
                assert flight is not None
                if len(list(flights)) > 1 and flights.outstanding * 2 > self._batch:
                    return True
                unit = scheduler.take_ready(self)
                if unit is None:
                    return True
            self._send(handle, unit)
        return True

    _batch = 1  # calls in the latest batch

    def _send(self, handle: WorkerHandle, unit: Any) -> None:
        if unit.__class__ is not Task:
            self._send_chunk(handle, unit)
            return
        limit = self._backend.settings.max_tasks_per_worker
        most = MOST_TOGETHER if limit is None else max(0, limit - self._ran - self._flights.outstanding - 1)
        tasks = [unit, *self.scheduler.take_more(unit, min(most, 1024))] if unit._terms.time_limit is None else [unit]
        calls: list[Any] = []
        large: list[bytes] = []
        first = self._flights.next_number
        for task in tasks:
            payload = task._payload
            if isinstance(payload, BaseException):
                task._started_at = task._ended_at = monotonic()
                self.scheduler.settle(task, None, payload)
                continue
            fn, args = payload
            task._worker = self.index
            task._attempts += 1
            self._flights.add_task(task)
            if len(args) >= LARGE:
                large.append(args)
                args = len(args)
            calls.append((task.id, task._name, task._attempts, fn, args))
        if not calls:
            return
        self._batch = len(calls)
        self._expect(tasks[0]._call[0] if tasks[0]._call else None, len(calls))
        handle.post(pack((worker.CALLS, first, calls), large))

    def _send_chunk(self, handle: WorkerHandle, chunk: Chunk) -> None:
        job = chunk.job
        items = list(chunk.todo)
        name = job.terms.name or function_name(job.fn)
        label = f"map({name})"
        if job.blob is None:
            try:
                job.blob = pickling.dumps(job.fn)
            except BaseException:
                job.blob = self._blame_function(job, label)
        if isinstance(job.blob, NotPicklable):
            self.scheduler.deliver(job, Piece(chunk.start, [None] * len(items), dict.fromkeys(range(len(items)), job.blob)))
            return
        packed, large, bad = self._pack_items(chunk, items, label)
        if bad is not None:
            # One item cannot travel: it fails alone, what is before and after it goes on.
            offset, error = bad
            rest = Chunk(job, chunk.start + offset + 1, items[offset + 1 :], chunk.attempts)
            if rest.size:
                self.scheduler.give_back([rest])
            items = items[:offset]
            self.scheduler.deliver(job, Piece(chunk.start + offset, [None], {0: error}))
            if not items:
                return
            packed, large, _ = self._pack_items(chunk, items, label)
        first = self._flights.next_number
        self._flights.add_chunk(chunk, items)
        self._batch = len(items)
        self._expect(job.fn, len(items))
        header = (worker.ITEMS, first, chunk.start, name, chunk.attempts + 1, job.star, job.blob, packed)
        handle.post(pack(header, large))

    def _blame_function(self, job: Any, label: str) -> NotPicklable:
        try:
            pickling.dump_call(job.fn, (), {}, label)
        except NotPicklable as error:
            return error
        raise AssertionError(label)

    def _pack_items(self, chunk: Chunk, items: list[Any], label: str) -> tuple[Any, list[bytes], Any]:
        """Pickle items: together if they are plain values, else one by one, so that a failure is one item's."""
        if not chunk.by_value and (
            pickling.PLAIN.issuperset(map(type, items))
            if not chunk.job.star
            else all(type(item) is tuple and pickling.PLAIN.issuperset(map(type, item)) for item in items)
        ):
            together = pickling.dumps(items)
            if len(together) < _MOST_BYTES:
                return together, [], None
        parts: list[Any] = []
        large: list[bytes] = []
        for offset, item in enumerate(items):
            try:
                data = pickling.dump_item(item, f"item {chunk.start + offset} of {label}", by_value=chunk.by_value)
            except NotPicklable as error:
                return None, [], (offset, error)
            if len(data) >= LARGE:
                large.append(data)
                parts.append(len(data))
            else:
                parts.append(data)
        return parts, large, None

    def _expect(self, fn: Any, calls: int) -> None:
        """Note when a batch has taken so long that what has not begun should run elsewhere."""
        if self._flights.outstanding < 2:
            self._recall_at = None
            return
        seconds = self.scheduler.pace.of(fn) if fn is not None else None
        expected = TARGET if seconds is None else seconds * max(calls, self._flights.outstanding)
        self._recall_at = monotonic() + max(_SHORTEST_PATIENCE, _PATIENCE * expected)

    # ------------------------------------------------------------------ what comes back

    def _take_in(self, frames: list[Any]) -> None:
        """Settle what frames from the worker say."""
        for header, payloads in frames:
            kind = header[0]
            if kind == worker.DONE:
                at = 0
                outcomes: list[Any] = []
                for number, what, part, began, ended in header[1]:
                    payload, at = unpack_payload(part, payloads, at)
                    outcomes.append((number, what, payload, began, ended))
                self._take_outcomes(outcomes)
            elif kind == worker.BACK:
                _, begun, _ = header
                self.scheduler.give_back(self._reset(self._flights.take_from(begun + 1)))
                self._recall_at = None
            elif kind == worker.GONE:
                _log.error(
                    "worker_context of %s failed to leave worker %d: %s",
                    self.scheduler.name,
                    self.index,
                    pickling.load_error(header[1]),
                )

    @staticmethod
    def _reset(units: list[Any]) -> list[Any]:
        """Uncount a start that did not happen."""
        for unit in units:
            if unit.__class__ is Task:
                unit._attempts -= 1
        return units

    def _take_outcomes(self, outcomes: list[Any]) -> None:
        settled: list[tuple[Task[Any], Any, BaseException | None]] = []
        seconds: dict[Any, list[float]] = {}
        last: Flight | None = None
        for number, what, payload, began, ended in outcomes:
            flight = self._flights.answered(number)
            if flight is None:
                continue  # it came through the pipe, and stood in the journal too
            self._ran += 1
            task = flight.task
            if task is None:
                if last is not None and last is not flight:
                    self._deliver(last)
                last = flight
                self._take_item(flight, what, payload)
                fn: Any = flight.chunk.job.fn if flight.chunk is not None else None
            else:
                call = task._call
                fn = call[0] if call is not None else None
                task._started_at, task._ended_at = began / 1e9, ended / 1e9
                value, error = self._open(what, payload, task)
                if error is None:
                    settled.append((task, value, None))
                elif what == worker.UNREADABLE:
                    self._unreadable(task, payload, error)
                elif task._terms.retries:
                    self.scheduler.fail(task, error)
                else:
                    settled.append((task, None, error))
            if fn is not None:
                times = seconds.setdefault(fn, [0.0, 0]) if _hashable(fn) else [0.0, 0]
                times[0] += (ended - began) / 1e9
                times[1] += 1
        if last is not None:
            self._deliver(last)
        self.scheduler.settle_many(settled, seconds)

    def _open(self, what: int, payload: Any, task: Any) -> tuple[Any, BaseException | None]:
        """Unpickle an outcome; what cannot be unpickled is the task's failure."""
        try:
            if what == worker.VALUE:
                return pickling.loads(payload), None
            return None, pickling.load_error(payload)
        except BaseException as error:
            name = describe(task) if isinstance(task, Task) else task
            unreadable = NotPicklable(
                f"the result of {name} came back but cannot be unpickled: {type(error).__name__}: {error}. "
                'Return what can be, or use backend="thread".',
                part="result",
            )
            unreadable.__cause__ = error
            return None, unreadable

    def _unreadable(self, task: Task[Any], payload: Any, error: BaseException) -> None:
        """The worker could not unpickle a call: try once more by value if it came from ``__main__``."""
        sent = task._payload
        call = task._call
        if call is not None and not task._by_value and sent and any(map(pickling.mentions_main, sent)):
            task._by_value = True
            try:
                task._payload = pickling.dump_call(*call, describe(task), by_value=True)
            except NotPicklable as unpicklable:
                self.scheduler.settle(task, None, unpicklable)
                return
            self.scheduler.give_back(self._reset([task]))
            return
        del payload
        self.scheduler.settle(task, None, _arrived_broken(describe(task), error))

    def _take_item(self, flight: Flight, what: int, payload: Any) -> None:
        """Store the outcome of an item with those that came before it."""
        chunk = flight.chunk
        assert chunk is not None
        offset = flight.done - 1
        label = f"item {chunk.start + offset} of map({function_name(chunk.job.fn)})"
        value, error = self._open(what, payload, label)
        if error is not None:
            if what == worker.UNREADABLE:
                if not chunk.by_value:
                    again = Chunk(chunk.job, chunk.start + offset, flight.items[offset : offset + 1], chunk.attempts)
                    again.by_value = True
                    try:
                        chunk.job.blob = pickling.dumps(chunk.job.fn, by_value=True)
                    except BaseException:  # noqa: S110 - then the item fails with what the worker said
                        pass
                    else:
                        self._skip(flight)
                        self.scheduler.give_back([again])
                        return
                error = _arrived_broken(label, error)
            if self.scheduler.fail_item(chunk, offset, flight.items[offset], error):
                self._skip(flight)
                return
            flight.errors[len(flight.values)] = error
        flight.values.append(value)

    def _skip(self, flight: Flight) -> None:
        """Deliver what came before an item that runs again; it will be delivered by itself."""
        flight.done -= 1
        self._deliver(flight)
        flight.done += 1

    def _deliver(self, flight: Flight) -> None:
        piece = flight.piece()
        if piece is not None:
            assert flight.chunk is not None
            self.scheduler.deliver(flight.chunk.job, piece)

    # ------------------------------------------------------------------ limits and orders

    def _patience(self, handle: WorkerHandle) -> float | None:
        """Give the milliseconds until the clock must be looked at, or None."""
        due = self._due(handle)
        if due is None:
            return None
        return max(0.0, due - monotonic()) * 1000 + 0.5

    def _due(self, handle: WorkerHandle) -> float | None:
        flight = self._flights.current
        if flight is None or self._doomed is not None:
            return None
        moments = [] if self._recall_at is None else [self._recall_at]
        limit = flight.time_limit
        if limit is not None:
            number, since = handle.journal.begun()
            has_begun = number >= flight.first + flight.done
            # Not begun (or not seen yet): look again when it could be due at the earliest.
            moments.append((since if has_begun else monotonic()) + limit)
        return min(moments, default=None)

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
                name = self._name_of(flight, number)
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
            if order == "kill":
                self._doomed = self._doomed or "killed"
                handle.kill()
                continue
            task, heard = order
            flight = self._flights.current
            number, _ = handle.journal.begun()
            if flight is None or flight.task is not task or number < flight.first:
                heard.set()  # it has ended, or has not begun
            else:
                self._doomed = order
                handle.kill()

    def _answer_orders(self) -> None:
        while self._orders:
            order = self._orders.popleft()
            if order != "kill":
                order[1].set()

    def _name_of(self, flight: Flight, number: int) -> str:
        if flight.task is not None:
            return describe(flight.task)
        assert flight.chunk is not None
        name = flight.chunk.job.terms.name or function_name(flight.chunk.job.fn)
        return f"item {flight.chunk.start + number - flight.first} of map({name})"

    # ---------------------------------------------------------------------- the end

    def _next_life(self, *, started: bool) -> bool:
        """Account for a process that has ended; tell whether it should have a successor."""
        handle, scheduler = self._handle, self.scheduler
        assert handle is not None
        kills_before = out_of_memory_kills()
        handle.reap()
        self._take_in(handle.receive_rest())
        self._take_outcomes(handle.journal.records())
        ordered = self._leaving and not self._flights
        begun, _ = handle.journal.begun()
        exitcode = handle.exitcode
        self._handle = None
        handle.close()
        unit = scheduler.stay_out(self)
        back = [] if unit is None else [unit]
        self._charge(begun, exitcode, kills_before)
        scheduler.give_back([*self._reset(self._flights.take_from(0)), *back])
        self._recall_at = None
        if ordered:
            return not scheduler.should_leave()
        with scheduler.lock:
            scheduler.tally.lost += 1
        self._barren = 0 if self._ran else self._barren + 1
        if not started and scheduler.broken is None and self._doomed is None and self._barren >= _DEATHS_IN_A_ROW:
            why, _ = cause_of_death(exitcode, kills_before)
            scheduler.fail_all(
                WorkerStartFailed(
                    f"worker {self.index} of {scheduler.name} died at each of its last {self._barren} starts, the last "
                    f"time by {why}; the pool takes no more tasks. Look at what __main__ and the initializer do."
                ),
                for_good=True,
            )
        return not scheduler.should_leave()

    def _charge(self, begun: int, exitcode: int | None, kills_before: int) -> None:
        """Settle the one call that had begun and has no outcome."""
        flight = self._flights.current
        if flight is None or begun < flight.first + flight.done:
            return
        name = self._name_of(flight, begun)
        doomed = self._doomed
        if isinstance(doomed, TimeLimitExceeded):
            error: BaseException = doomed
        else:
            why, out_of_memory = cause_of_death(exitcode, kills_before)
            if doomed == "killed":
                why = "Pool.kill()"
            error = WorkerLost(
                f"worker {self.index} of {self.scheduler.name} died of {why} while it ran {name}. "
                "Other tasks are not affected; retries=1 would run this one again.",
                task=flight.task._name if flight.task is not None else name,
                worker=self.index,
                exitcode=exitcode,
                out_of_memory=out_of_memory,
            )
        task = flight.task
        number = flight.first + flight.done
        self._flights.answered(number)
        if task is None:
            chunk = flight.chunk
            assert chunk is not None
            offset = flight.done - 1
            self._skip(flight)
            if not self.scheduler.fail_item(chunk, offset, flight.items[offset], error):
                self.scheduler.deliver(chunk.job, Piece(chunk.start + offset, [None], {0: error}))
            return
        task._ended_at = monotonic()
        if isinstance(doomed, tuple):
            ended, heard = doomed
            if ended is task:
                self.scheduler.settle_cancelled(task)
                heard.set()
                return
        self.scheduler.fail(task, error)

    def _fail_flights(self, error: BaseException) -> None:
        for unit in self._flights.take_from(0):
            if unit.__class__ is Task:
                self.scheduler.settle(unit, None, error)
            else:
                piece = Piece(unit.start, [None] * unit.size, dict.fromkeys(range(unit.size), error))
                self.scheduler.deliver(unit.job, piece)

    def _end_process(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.kill()
            handle.reap()
            handle.close()


def _arrived_broken(name: str, error: BaseException) -> NotPicklable:
    broken = NotPicklable(
        f"{name} was sent but cannot be unpickled in the worker: {type(error).__name__}: {error}. Define what it "
        'needs in a module that workers can import, or use backend="thread".',
        part="argument",
    )
    broken.__cause__ = error.__cause__
    return broken


def _hashable(fn: Any) -> bool:
    try:
        hash(fn)
    except Exception:
        return False
    return True


def _ring(fd: int) -> None:
    """Wake who polls the other end; a full pipe means it will wake anyway."""
    with suppress(BlockingIOError, OSError):
        os.write(fd, b"!")


def _hush(fd: int) -> None:
    """Take the wake-up calls off the pipe."""
    with suppress(BlockingIOError):
        os.read(fd, 4096)
