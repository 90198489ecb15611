"""The end of a worker process, or of the attempt to start one: who is charged, and what runs elsewhere.

The result pipe is drained first, then the journal: an outcome that was finished is
never lost. What had begun and has no outcome is the one call that is charged; what
had not begun goes back to the front of the queue.

Every call here is made by the driver, which has the turn.
"""

from __future__ import annotations

import errno
import select
from contextlib import suppress
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING

from workpool.backends.process.books import answer, name_of
from workpool.backends.process.death import cause_of_death
from workpool.backends.process.feeding import Feeding
from workpool.backends.process.outcomes import fail_item, reset
from workpool.backends.process.starts import SOON
from workpool.errors import (
    TimeLimitExceeded,
    WorkerLost,
    WorkerStartFailed,
    anew,
)
from workpool.scheduling.chunk import Alike
from workpool.scheduling.mapjob import Piece
from workpool.scheduling.worker import not_affected
from workpool.task import Task

if TYPE_CHECKING:
    from workpool.ipc.launch import WorkerHandle

__all__ = ["Reckoning"]


class Reckoning(Feeding):
    """Accounts for a process that has ended, or never began."""

    KIND, NEEDS = (
        "process",
        "processes",
    )  # what a worker is, and what the system has to have for one

    def _next_life(self, handle: WorkerHandle) -> bool:
        """Account for a process that has ended; tell whether it should have a successor."""
        scheduler, flights = self.scheduler, self._flights
        handle.reap()
        rest = handle.receive_rest()
        if self._hearing is not None:
            self._hearing.take(handle.reports.receive(to_the_end=True))
            self._hearing.pause()
        self._take_in(handle, rest)
        begun, outcomes, sliced = handle.journal.last_words()
        if self._ended_at is not None:  # what it has noted since did not run
            begun = min(begun, self._ended_at)
            if sliced is not None and sliced[0] > begun:
                sliced = None
        began = int(handle.journal.begun()[1] * 1e9)
        self._settle_from_journal(handle, outcomes, sliced)
        ordered = (
            not self._serving and not flights and self._doomed is None and handle.exitcode == 0
        )
        self._serving = False
        self._handle = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        exitcode = handle.exitcode
        stack, place = handle.stacks.crash(exitcode)
        handle.close()
        unit = scheduler.stay_out(self)
        why, out_of_memory = self._cause(handle)
        if not ordered:
            self._count_death(why)  # before anybody can see what follows from it
        if place:
            why = f"{why} in {place}"
        lost = WorkerLost(
            "", worker=self.index, exitcode=exitcode, out_of_memory=out_of_memory, stack=stack
        )
        self._charge(begun, began, why, lost)
        scheduler.give_back([*reset(flights.take_from(0)), *([] if unit is None else [unit])])
        self._recall_at = None
        self._stop_waiting()
        while self._put_off:
            answer(self._put_off.pop())  # what had not begun was given back above
        barren = not ordered and self._doomed is None and begun < 0
        if barren and exitcode is None:
            self._consider_keeper(handle.keeper)
        else:
            self._consider(why, barren=barren)
        with scheduler.lock:
            return not (self.leaving or scheduler.should_leave())

    def _cause(self, handle: WorkerHandle) -> tuple[str, bool]:
        """Say what ended the worker, and whether it was for want of memory."""
        return cause_of_death(handle.exitcode, self._kills_before)

    def _count_death(self, why: str) -> None:
        """Take in that the worker did not end in order."""
        with self.scheduler.lock:
            self.scheduler.tally.died(self.index, why)

    def _consider(self, why: str, *, barren: bool) -> None:
        """Decide whether this was one death too many; pause before the next life if there were several."""
        starts, scheduler = self._backend.starts, self.scheduler
        if not barren or monotonic() - self._started_at > SOON:
            starts.lived()
            return
        pause = starts.died(self._done())
        if pause is None:
            self._no_more_lives(
                f"{starts.barren} workers of {scheduler.name} in a row died before they began any task, the last "
                f"one (worker {self.index}) of {why}; the pool takes no more tasks. Look at what __main__ and the "
                "initializer do."
            )
        elif pause:
            self._rest(pause)

    def _consider_keeper(self, keeper: int) -> None:
        """Decide the same when the worker went with its keeper, whose death is not the worker's doing."""
        starts = self._backend.starts
        pause = starts.went_with(keeper, self._done())
        if pause is None:
            self._no_more_lives(
                f"{starts.keepers} keepers in a row, the processes that start the workers of {self.scheduler.name}, "
                "died before a worker began any task; the pool takes no more tasks. See in the system's log what "
                "kills them."
            )
        elif pause:
            self._rest(pause)

    def _done(self) -> int:
        """Tell how much the pool has done so far."""
        with self.scheduler.lock:
            return self.scheduler.tally.done + self.scheduler.tally.failed

    def _no_more_lives(self, message: str) -> None:
        self.scheduler.fail_all(WorkerStartFailed(message), for_good=True)

    def _rest(self, seconds: float) -> None:
        """Wait so long before the next life, unless there is to be none."""
        until = monotonic() + seconds
        poller = select.poll()
        poller.register(self._wake_r, select.POLLIN)
        while (left := until - monotonic()) > 0:
            if self.leaving or self.scheduler.should_leave():
                return
            if poller.poll(left * 1000):
                self._woken()
        if self._orders:
            self.wake()  # they are for the next life to hear

    def _charge(self, begun: int, began: int, why: str, lost: WorkerLost) -> None:
        """Settle the one call that had begun (at so many nanoseconds) and has no outcome."""
        flight = self._flights.current
        if flight is None or begun < flight.first + flight.done:
            answer(self._doomed)
            return
        doomed = self._doomed
        name = name_of(flight, begun)
        if isinstance(doomed, TimeLimitExceeded):
            error: BaseException = doomed
        else:
            if isinstance(doomed, str):
                why = doomed
            lost.task = flight.task._name if flight.task is not None else name
            message = (
                f"worker {self.index} of {self.scheduler.name} died of {why} while it ran {name}. "
                f"{not_affected(flight.task or flight.chunk)}"
            )
            lost.args = (message,)
            error = lost
        self._flights.answered(flight.first + flight.done)
        task = flight.task
        if task is None:
            flight.measure(began, monotonic_ns(), 1)
            fail_item(self.scheduler, flight, error)
            return
        task._started_at, task._ended_at = began / 1e9, monotonic()
        if isinstance(doomed, tuple) and doomed[0] is task:
            self.scheduler.settle_cancelled(task)
        else:
            self.scheduler.fail(task, error)
        answer(doomed)

    # ---------------------------------------------------------------- what never began

    def _could_not_start(self, error: OSError) -> bool:
        """The system gave no process: leave it to the other workers, or fail what waits."""
        scheduler = self.scheduler
        unit = scheduler.stay_out(self)
        message = f"{scheduler.name} could start no worker {self.KIND}: {error}."
        if error.errno != errno.E2BIG:  # it is not for want of anything
            message += f" Free {self.NEEDS}, memory or file descriptors, and submit again."
        lost = WorkerLost(message, worker=self.index)
        lost.__cause__ = error
        with scheduler.lock:
            others = any(other is not self for other in scheduler.workers.values())
        if unit is not None:
            scheduler.give_back([unit])
        self._starved = others
        if not others:
            scheduler.fail_all(lost)
        return False

    def _hire_later(self) -> None:
        """Have the system asked again, if something waits still: what the others do may depend on that."""
        with suppress(RuntimeError):  # no thread for that, either: who submits next asks
            self.scheduler.timers.after(self._backend.starts.refused(), self.scheduler.hire)

    # ------------------------------------------------------------- when all else has failed

    def _fail_flights(self, error: BaseException) -> None:
        for unit in self._flights.take_from(0):
            if unit.__class__ is Task:
                self.scheduler.settle(unit, None, anew(error))
            else:
                piece = Piece(unit.start, [None] * unit.size, Alike(unit.size, error))
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
