"""The workers of an engine: many slots, and one thread here that feeds them all.

A slot is what the scheduler takes for a worker. It has no thread: whatever happens to
it (it is woken, an outcome lands, its far end dies, somebody wants a task ended) is an
event, and the one thread of the pool, the *clerk*, goes through the events in order.
So a slot's state is touched by that thread alone and needs no lock, and a pool of a
thousand workers costs one thread here.

A slot has one order in flight at most. What is not with a worker is in the pool's own
queue, and so priorities, cancelling and joins are the scheduler's, as everywhere.

States of a slot: beginning (its far end is not there yet), idle, busy (``flight``),
doomed (its far end is being ended for a reason of ours), gone.

- An order lands once: what comes back for a flight that is no longer the slot's is dropped.
- To a doomed far end nothing more is sent, also when its order landed after all.
- A far end that dies takes the order with it that it was running, which is charged to
  the unit; then the slot begins anew, with the same index.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.backends.engine import landing, orders, reasons, remote
from workpool.backends.engine.clerk import Flight
from workpool.calm import calmly
from workpool.scheduling.mapjob import Chunk
from workpool.situation import here
from workpool.task import RUNNING, Task
from workpool.waits import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.backends.engine.clerk import Clerk
    from workpool.scheduling.scheduler import Scheduler

__all__ = ["Slot"]

_DEATHS_IN_A_ROW = 5  # far ends that never became ready before the pool gives up
_GRACE = 10.0  # seconds that an engine may take to tell of the end of what it was told to end


class Slot:
    """One worker of an engine, as the scheduler sees it."""

    can_nest = sets_up = looks_again = False
    hand_over, waits_at = None, ()

    def __init__(self, clerk: Clerk, scheduler: Scheduler, index: int) -> None:
        self.clerk = clerk
        self.scheduler = scheduler
        self.index = index
        self.inbox: Any = None
        self.lent = self.leaving = False
        self.fresh = True
        self.waits_on = self.lends_for = None  # its callbacks wait at their own risk
        self.written_off = False
        self.started = False
        self.far: Any = None  # the engine's own: what the slot's far end is
        self.flight: Flight | None = None
        self.wake = partial(clerk.put, (self, self._look))
        self._engine = clerk.engine
        self._ready = self._doomed = self._leaving = False
        self._ran: int = 0  # calls, in this life of the far end
        self._failed_starts = 0  # in a row
        self._gone = Event()
        self._asking: list[Event] = []  # whose words the clerk has not come to yet
        self.never_begins = self._gone.set  # who waits for its end has seen it

    # ------------------------------------------------------- what others ask, in any thread

    def start(self) -> None:
        """Have the clerk begin; a RuntimeError if there is no thread to be had."""
        calmly(self._start)

    def _start(self) -> None:
        self.clerk.start()
        self.post(self._begin)
        self.started = True

    def post(self, call: Callable[[], object]) -> None:
        """Have the clerk make a call for this slot."""
        self.clerk.put((self, call))

    def join(self, timeout: float | None) -> bool:
        """Wait until the slot is gone."""
        return self._gone.wait(timeout)

    def kill(self) -> None:
        """Have the far end ended; what runs there is lost."""
        self.post(self._kill)

    def ask_to_end(self, what: object) -> None:
        """Let a task, the items of a map call, or all see that they are not wanted, if they run here."""
        self.post(partial(self._ask_to_end, what))

    def end_task(self, task: Task[Any]) -> bool:
        """End the far end if it runs the task; waits until that is settled.

        Two do not wait. A callback, in a clerk: that would be this one, or one that waits in a
        callback of its own for this one. And the timers' thread, which says when an engine has had
        its time to tell of the end.
        """
        if not self._engine.ends_tasks:
            self.ask_to_end(task)
            return False
        if task._stage is not RUNNING:
            return task.cancelled()
        heard = Event()
        self._asking.append(heard)
        self.post(partial(self._end_task, task, heard))
        worker = here.worker
        if (worker is not None and not worker.can_nest) or self.scheduler.timers.is_this_thread:
            return False
        # Before the wait, and after the append: whoever sets the one then looks at the other.
        if not self._gone.is_set():
            heard.wait()
        return task.cancelled()

    def ask_for_stack(self) -> Callable[[float], str]:
        """Ask where it stands, when the answer is waited for: the engine has its own ways."""
        flight = self.flight
        if flight is None:
            text = "" if self._ready else "(the worker is starting or ending)\n"
            return lambda _: text
        return partial(self._engine.stack, self, flight)

    def running(self) -> list[tuple[str, float]]:
        """Name what runs now, with its age in seconds."""
        flight = self.flight
        if flight is None:
            return []
        offset = 0
        if flight.unit.__class__ is Chunk and flight.unit.size > 1:
            offset = max(0, self._engine.offset(self, flight))
        return [(reasons.name_of(flight.unit, offset), monotonic() - flight.began)]

    # ----------------------------------------------------------------- events, by the clerk

    def _begin(self) -> None:
        self._ready, self._doomed, self._ran = False, False, 0
        # First this, then the look whether it need not: who closes the pool in between wakes it. For an
        # engine may take for ever, where others have all of its room.
        with self.scheduler.lock:
            self.scheduler.beginning.add(self)
        if not self._need_not_begin():
            self._engine.begin(self)

    def _need_not_begin(self) -> bool:
        """Leave, if nothing more is to come."""
        if not self._should_leave():
            return False
        # This takes what stands in the queue for nothing, such as a closed map call: else
        # somebody would be hired for it again, and again.
        unit = self.scheduler.next_unit(self)
        if unit is not None:
            self.scheduler.give_back([unit])
            return False
        if self.scheduler.killed:
            self._engine.end(self)  # its far end may be at its initializer, for long
        self._left()
        return True

    def too_deep(self, task: Task[Any]) -> bool:
        """No task is ever run inside another here, and nobody asks."""
        raise AssertionError(task)

    def ready(self) -> None:
        """The far end is there."""
        with self.scheduler.lock:
            self.scheduler.beginning.discard(self)
        self._ready = True
        self._failed_starts = 0
        self._look()

    def failed(self, data: bytes) -> None:
        """The far end could not set itself up: nobody's can."""
        reason = reasons.initializer_failed(self, data)
        self._fail_for_good(reason)

    def died(
        self, far: Any, why: str, exitcode: int | None = None, *, entering: bool = False
    ) -> None:
        """A far end is dead: charge what it ran, and begin anew."""
        if far is not self.far or self._gone.is_set():
            return  # another's
        flight, self.flight = self.flight, None
        was_ready, self._ready = self._ready, False
        self.far = None
        scheduler = self.scheduler
        given_up = self._doomed and self._engine.writes_off
        with scheduler.lock:  # before anybody can see what follows from it
            if given_up:
                scheduler.tally.wrote_off(self.index)
            else:
                scheduler.tally.died(self.index, why)
        unit = scheduler.stay_out(self)
        if flight is not None:
            self._charge(flight, why, exitcode)
        if unit is not None:
            scheduler.give_back([unit])
        self._failed_starts = 0 if was_ready else self._failed_starts + 1
        if entering and not was_ready:
            self._fail_for_good(reasons.initializer_died(self, why))
        elif self._failed_starts >= _DEATHS_IN_A_ROW:
            self._fail_for_good(reasons.starts_failed(self, self._failed_starts, why))
        else:
            self._begin()

    def came_back(self, flight: Flight, far: Any, why: str) -> None:
        """The far end was dead before the flight got there: it is another's now."""
        if flight is self.flight and flight.doomed is None:
            self.flight = None
            flight.stop_clock()
            landing.put_back(self.scheduler, flight.unit)
        self.died(far, why)

    def landed(self, flight: Flight, outcome: tuple[Any, ...]) -> None:
        """An order is over."""
        if flight is not self.flight:
            return  # it was settled otherwise
        self.flight = None
        flight.stop_clock()
        if outcome[0] == remote.FAILED:
            reason = reasons.initializer_failed(self, outcome[1])
            self._fail_for_good(reason, flight)
            return
        self._ran += len(outcome[3])
        landing.land(self.scheduler, flight.unit, outcome, self)
        flight.tell()  # it was too late to end it
        del flight, outcome
        self._look()

    def refused(self, flight: Flight, error: BaseException) -> None:
        """The engine could not run an order at all: that is the unit's error."""
        if flight is self.flight:
            self.flight = None
            flight.stop_clock()
            landing.fail_unit(self.scheduler, flight.unit, error, self, flight.began)
            flight.tell()
            self._look()

    def dropped(self, flight: Flight) -> None:
        """An order that nobody wants any more had not begun, and never will."""
        if flight is self.flight and flight.doomed is None:
            self.flight = None
            flight.stop_clock()
            landing.call_off(self.scheduler, flight.unit)
            self._look()

    def give_up(self, error: BaseException) -> None:
        """Fail everything for a fault of ours."""
        self._fail_for_good(error, self.flight)

    # --------------------------------------------------------------------------- feeding

    def _look(self) -> None:
        """Take the next unit, or be idle, or leave."""
        if self in self.scheduler.beginning and not self._gone.is_set():
            self._need_not_begin()
            return
        while self._ready and not self._doomed and self.flight is None and not self._leaving:
            most = self._engine.most_calls
            if most is not None and self._ran >= most:
                self._retire()
                return
            unit = self.scheduler.next_unit(self)
            if self.scheduler.litter:
                self.scheduler.sweep()
            if unit is None:
                if self._should_leave():
                    self._left()
                elif self._engine.rests(self):
                    self._retire()
                return
            self._send(unit, None if most is None else most - self._ran)

    def _should_leave(self) -> bool:
        with self.scheduler.lock:
            return self.leaving or self.scheduler.should_leave()

    def _send(self, unit: Any, most: int | None) -> None:
        scheduler = self.scheduler
        number = next(orders.numbers)
        if unit.__class__ is Task:
            task: Task[Any] = unit
            limit = task._terms.time_limit
            if (payload := task._payload).__class__ is not tuple:
                if payload is not None:  # else it was killed on its way here
                    task._started_at, task._ended_at = monotonic(), 0.0
                    scheduler.settle(task, None, payload)
                return
            if not scheduler.assign([task], self.index):
                return  # the same, or cancelled
            task._started_at, task._ended_at = monotonic(), 0.0
            task._attempts += 1
            order: orders.Order | None = orders.task_order(task, number, self.index)
        else:
            limit = unit.job.terms.time_limit
            # Under a time limit each item goes alone: the clock is that of one call.
            most = 1 if limit is not None else most
            if most is not None and (rest := unit.cut(most)) is not None:
                scheduler.give_back([rest])
            order = orders.chunk_order(scheduler, unit, number, self.index)
        if order is None:
            return
        self.flight = flight = Flight(number, unit)
        flight.limit = limit
        self.start_clock(flight)
        self._engine.send(self, flight, order)

    def start_clock(self, flight: Flight) -> None:
        """Have the time that a flight may take begin now."""
        flight.began = monotonic()
        if flight.limit is not None:
            late = partial(self.post, partial(self._overdue, flight, flight.limit))
            flight.timer = self.scheduler.timers.after(flight.limit, late)

    # ---------------------------------------------------------------------------- ending

    def _ask_to_end(self, what: object) -> None:
        flight = self.flight
        if flight is not None and what in (None, flight.unit, getattr(flight.unit, "job", None)):
            self._engine.ask_to_end(self, flight)

    def _end_task(self, task: Task[Any], heard: Event) -> None:
        self._asking.remove(heard)
        flight = self.flight
        if flight is None or flight.unit is not task:
            heard.set()  # it has ended
            return
        flight.asked_for.append(heard)
        if flight.doomed is None:
            self._doom(flight, CancelledError())

    def _overdue(self, flight: Flight, limit: float) -> None:
        if flight is not self.flight or flight.doomed is not None or flight.timer is None:
            return  # it is over, or its clock was stopped meanwhile
        self._doom(flight, reasons.overran(flight.unit, limit))

    def _doom(self, flight: Flight, reason: BaseException) -> None:
        """End the far end; the flight is settled when the engine tells of its death, or has had time to."""
        flight.doomed, self._doomed = reason, True
        far = self.far
        self._engine.end(self)
        late = partial(self.post, partial(self.died, far, "an order to end"))
        self.scheduler.timers.after(_GRACE, late)

    def _charge(self, flight: Flight, why: str, exitcode: int | None) -> None:
        flight.stop_clock()
        doomed, unit = flight.doomed, flight.unit
        if isinstance(doomed, CancelledError):
            self.scheduler.settle_cancelled(unit)
        else:
            error = doomed or reasons.lost(self, unit, why, exitcode)
            landing.fail_unit(self.scheduler, unit, error, self, flight.began)
        flight.tell()

    def _kill(self) -> None:
        if self._gone.is_set():
            return
        self._engine.end(self)
        flight, self.flight = self.flight, None
        if flight is not None:
            flight.doomed = flight.doomed or reasons.killed(self, flight.unit)
            self._charge(flight, "Pool.kill()", None)
        self._left()

    def _retire(self) -> None:
        """End in order, and begin anew."""
        self._engine.leave(self)
        self.far = None
        self._begin()

    def _fail_for_good(self, reason: BaseException, flight: Flight | None = None) -> None:
        self.scheduler.fail_all(reason, for_good=True)
        if flight is not None:
            self.flight = None
            flight.stop_clock()
            landing.fail_unit(self.scheduler, flight.unit, reason, self, flight.began)
            flight.tell()
        self._left()

    def _left(self) -> None:
        """Be gone."""
        if self._gone.is_set():
            return
        self._leaving = True
        with self.scheduler.lock:
            self.scheduler.beginning.discard(self)
        self._engine.leave(self)
        self.scheduler.left(self)
        self._gone.set()
        for heard in self._asking.copy():  # the clerk may end before it comes to their words
            heard.set()
