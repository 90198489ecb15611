"""What goes to a worker process and what comes back; limits, and orders from others.

Batches. Calls known to be short travel together, and the next batch is sent while
the last is being worked on. A call that takes longer than thought does not hold
up the rest of its batch: they are recalled (``_recall_at``) and run elsewhere. What a batch was expected to
take may be far too much, after one call that took long. So others that have nothing to do never wait for that
(``_is_of_use``), nor does what is finished and not sent.

Every call here is made by whoever has the turn.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.backends.process.books import Order, answer, name_of
from workpool.backends.process.outcomes import take_outcomes
from workpool.backends.process.packing import pack_chunk, pack_tasks
from workpool.backends.process.seizing import Seizing
from workpool.errors import TimeLimitExceeded
from workpool.ipc import pickling, serving
from workpool.ipc.borrowing import Borrowed
from workpool.ipc.frames import unpack_payload
from workpool.ipc.outbox import DONE
from workpool.plain import plain
from workpool.safelog import SafeLog
from workpool.scheduling.mapjob import MapJob
from workpool.scheduling.pace import TARGET
from workpool.task import Task

if TYPE_CHECKING:
    from workpool.backends.process.flights import Flight
    from workpool.ipc.launch import WorkerHandle

__all__ = ["Feeding"]

_log = SafeLog("workpool")

_PATIENCE = 3.0  # times the expected duration before a batch is recalled
_SHORTEST_PATIENCE = 0.01  # seconds
_LONGEST_PATIENCE = 0.25  # seconds before a look whether a recall is of use
_MOST_TASKS = 1_024  # in one frame
_TRIM_AFTER = 5.0  # seconds


class Feeding(Seizing):
    """Sends calls, settles outcomes, and looks at the clock."""

    ENDED = "its worker was ended and replaced"  # what becomes of it, past a limit

    def _feed(self, handle: WorkerHandle) -> bool:
        """Send what there is to do and room for; False when there will be nothing more."""
        scheduler, flights = self.scheduler, self._flights
        # What comes back is to run before what was queued behind it.
        if (self._seized and self._keeps_still(handle)) or (self._asks and flights):
            return True
        most = self._backend.settings.max_tasks_per_worker
        while not handle.pending:
            if most is not None and self._ran + flights.outstanding >= most:
                return bool(flights)
            if not flights:
                unit = scheduler.next_unit(self)
                if unit is None:
                    if scheduler.litter or scheduler.later:
                        scheduler.sweep()
                    return not (self.leaving or scheduler.should_leave())
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
        limit = self._backend.settings.max_tasks_per_worker
        most = _MOST_TASKS if limit is None else limit - self._ran - self._flights.outstanding
        if unit.__class__ is Task:
            tasks = [unit]
            if unit._terms.time_limit is None:
                tasks += self.scheduler.take_more(unit, most - 1)
            fn = unit._call[0] if unit._call is not None else None
            size = len(tasks)
            frame = pack_tasks(self.scheduler, self._flights, tasks, self.index)
        else:
            if self.scheduler.litter:
                self.scheduler.sweep()
            if limit is not None and (rest := unit.cut(most)) is not None:
                self.scheduler.give_back([rest])
            fn, size = unit.job.fn, unit.size
            frame = pack_chunk(self.scheduler, self._flights, unit, self._backend.dump)
        if frame is None:
            return
        if self._flights.lent:
            self._flights.lent = False
            self._used_depot()
        self._batch = size
        self._recall_at = None
        if self._taken_upto >= 0:
            self._spare_the_look(handle)
        if self._flights.outstanding > 1:
            seconds = self.scheduler.pace.of(fn)
            expected = TARGET if seconds is None else seconds * self._flights.outstanding
            patience = max(_SHORTEST_PATIENCE, _PATIENCE * expected)
            self._patience = min(patience, _LONGEST_PATIENCE)
            now = monotonic()
            self._overdue_at, self._recall_at = now + patience, now + self._patience
        handle.post(frame)

    def _used_depot(self) -> None:
        """Note that a large payload was sent or came: its memory is kept for the next one, but not for ever."""
        if self._trim_at is None:
            self.wake()  # the driver sleeps, and not just until then
        self._trim_pause = _TRIM_AFTER
        self._trim_at = monotonic() + _TRIM_AFTER

    def _trim_if_due(self, handle: WorkerHandle) -> None:
        """Have the free memory of both depots given back, when nothing large has come for a while."""
        if self._trim_at is None or monotonic() < self._trim_at:
            return
        self._trim_at = None
        handle.control((serving.TRIM, 0))
        if self._backend.depot is not None:
            self._backend.depot.trim()
        if any(
            slots and slots.any_taken() for slots in (handle.argument_slots, handle.result_slots)
        ):
            # Somebody still has an array in there: look again, less and less often.
            self._trim_pause *= 2
            self._trim_at = monotonic() + self._trim_pause

    def _settle(self, handle: WorkerHandle, outcomes: list[Any]) -> int:
        """Settle calls; large results lie in the worker's depot. Gives how many outcomes were new."""
        slots = handle.result_slots
        for place, outcome in enumerate(outcomes):
            # One that was read in the journal before has its memory; this note of it is no other.
            if outcome[2].__class__ is tuple and slots is not None and self._unanswered(outcome[0]):
                borrowed = Borrowed(handle.depot_fd, slots, outcome[2])
                outcomes[place] = (*outcome[:2], borrowed, *outcome[3:])
                self._used_depot()
        return take_outcomes(self.scheduler, self._flights, outcomes)

    def _hear(self, handle: WorkerHandle) -> None:
        """Take in what the worker reports, as much as was there when this began."""
        if self._hearing is not None:
            self._hearing.take(handle.reports.receive())
            if handle.reports.ended and self._watch is not None:
                self._watch.forget(handle.reports.fd)

    def _take_in(self, handle: WorkerHandle, frames: list[Any]) -> None:
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
                self._ran += self._settle(handle, outcomes)
            elif kind == serving.BACK:
                self._answered(handle, header[1], header[2])
            elif kind == serving.READY:
                self._be_back()
            elif kind == serving.GONE:
                self._log_gone(header[1])
            elif kind == serving.LEFT:
                self._left_at = monotonic()

    def _log_gone(self, error: bytes) -> None:
        _log.error(
            "worker_context of %s failed to leave worker %d",
            self.scheduler.name,
            self.index,
            exc_info=pickling.load_error_or_stand_in(error),
        )

    # ------------------------------------------------------------------ limits and orders

    def _due(self, handle: WorkerHandle) -> float | None:
        """Give the moment at which the clock must be looked at, or None."""
        flight = self._flights.current
        if self._doomed is not None:
            return None
        due = self._answer_due(handle) if self._asks and self._serving else None
        if flight is None:
            return due
        if self._recall_at is not None:
            due = self._recall_at if due is None else min(due, self._recall_at)
        limit = flight.time_limit
        if limit is not None:
            number, since = handle.journal.begun()
            if number >= flight.first + flight.done:
                late = since + limit + (flight.grace if number == self._warned else 0.0)
            else:
                # Not begun (or not seen yet): it could be due at the earliest, or its worker asked why, then.
                if self._unbegun[0] != flight.first + flight.done:
                    self._unbegun = flight.first + flight.done, monotonic()
                late = self._unbegun[1] + max(limit, _SHORTEST_PATIENCE)
            due = late if due is None else min(due, late)
        return due

    def _look_at_the_clock(self, handle: WorkerHandle) -> None:
        """Kill a worker whose call is past its limit; recall what waits behind a slow one."""
        if self._asks and self._serving and self._doomed is None:
            self._look_for_the_answer(handle)
        flight = self._flights.current
        if flight is None or self._doomed is not None:
            return
        now = monotonic()
        limit = flight.time_limit
        if limit is not None:
            number, since = handle.journal.begun()
            if number < flight.first + flight.done:
                expected, since = self._unbegun
                if expected == flight.first + flight.done and now >= since + limit:
                    self._unbegun = expected, now
                    self._probe(handle, flight)
            elif now >= since + limit:
                grace = flight.grace
                if not grace or now >= since + limit + grace:
                    self._end(handle, number, _too_long(flight, number, limit, grace, self.ENDED))
                    return
                if number != self._warned:
                    self._warned = number
                    late = _too_long(flight, number, limit, grace, "it was told to end")
                    handle.control((serving.WARN, number, str(late), limit, plain(late.task)))
        if self._recall_at is not None and now >= self._recall_at:
            if not self._runs_something(handle):
                # On its way still, and large: recalled now it would be sent anew, and again, for ever.
                self._patience *= 2
                self._recall_at = now + self._patience
                self._probe(handle, flight)
            elif now < self._overdue_at and not self._is_of_use(handle):
                self._recall_at = now + _LONGEST_PATIENCE
            else:
                self._recall(handle)

    def _is_of_use(self, handle: WorkerHandle) -> bool:
        """Tell whether a recall helps before the batch is overdue: somebody is free, or outcomes wait behind a call."""
        begun, before = handle.journal.begun(), self._looked
        self._looked = begun
        return self.scheduler.free_hands > 0 or (begun == before and handle.journal.keeps_outcomes)

    def _obey(self, handle: WorkerHandle) -> None:
        """Do what others have asked of this worker."""
        recall = False
        told: list[Flight] = []
        while self._orders:
            order = self._orders.popleft()
            if isinstance(order, str):
                self._doomed = self._doomed or order
                handle.kill()
                self._kill_leaver()
                continue
            if order is None or isinstance(order, MapJob):
                self._tell_items(handle, order)
                continue
            task = order if isinstance(order, Task) else order[0]
            flight = self._flights.of(task)
            begun, _ = handle.journal.begun()
            if flight is None or begun > flight.first:
                answer(order)  # it has ended
            elif self._doomed is not None:
                self._put_off.append(order)  # with its worker, which is being ended
            elif begun < flight.first:
                # It is with the worker and has not begun: it comes back, or begins at this very moment.
                recall = True
                if isinstance(order, Task):
                    told.append(flight)
                else:
                    self._put_off.append(order)
            elif isinstance(order, Task):
                told.append(flight)
            elif not self._end(handle, flight.first, order):
                answer(order)  # it has ended at this very moment
        if recall:
            self._recall(handle)
        self._tell(handle, told)

    def _tell(self, handle: WorkerHandle, flights: list[Flight]) -> None:
        """Let calls see that they are not wanted: each once, and neighbours with one message."""
        ranges: list[list[int]] = []
        for flight in flights:
            if flight.told:
                continue
            flight.told = True
            last = flight.first + flight.size - 1
            if ranges and ranges[-1][1] == flight.first - 1:
                ranges[-1][1] = last
            else:
                ranges.append([flight.first, last])
        for first, last in ranges:
            handle.control((serving.CANCEL, first, last))

    def _end(self, handle: WorkerHandle, number: int, why: Order | BaseException) -> bool:
        """Kill the worker for the call that runs; False if that is over, and another has begun."""
        if not handle.journal.hold(number):
            return False
        self._doomed, self._ended_at = why, number
        handle.kill()
        return True

    def _tell_items(self, handle: WorkerHandle, job: MapJob | None) -> None:
        """Let the items of a closed map call (or all calls there are) know, and have back those that have not begun."""
        begun, _ = handle.journal.begun()
        told = [
            flight
            for flight in self._flights
            if job is None or (flight.chunk is not None and flight.chunk.job is job)
        ]
        # First: an item that hears of it may end at once, and the next one begin. What comes back closes its
        # map call, if it is not closed (``give_back``). Of one whose last item runs, in a slice, nothing does.
        if any(each.chunk is not None and each.first + each.size - 1 > begun for each in told):
            self._recall(handle)
        self._tell(handle, told)

    def _recall(self, handle: WorkerHandle) -> None:
        """Have everything back that has not begun."""
        self._recall_at = None
        upto = self._flights.next_number - 1
        if not self._asks or upto > self._asked_upto:  # else the answer that is to come will do
            self._ask(handle, upto)

    def _obey_what_was_put_off(self, handle: WorkerHandle) -> None:
        """Look at orders again, now that it is known what has begun."""
        put_off, self._put_off = self._put_off, []
        self._orders.extendleft(reversed(put_off))
        self._obey(handle)


def _too_long(
    flight: Flight, number: int, limit: float, grace: float, end: str
) -> TimeLimitExceeded:
    name = name_of(flight, number)
    given = f" (grace: {grace} s)" if grace else ""
    return TimeLimitExceeded(
        f"{name} ran longer than its time limit of {limit} s{given}; {end}.",
        time_limit=limit,
        task=flight.task._name if flight.task is not None else name,
    )
