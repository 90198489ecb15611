"""Taking back what a worker has not begun: by asking it, and without its help where it does not answer.

Asked, the worker's control thread hands back what has not begun (``BACK``). It cannot while one call holds
the whole process (C code that keeps the GIL), nor while the process is stopped. So after `ANSWER_WITHIN`
seconds its neighbours are *seized*: the worker is stopped by a word in its journal, and a moment later
what has begun is read there, with what is finished and not sent. All else runs elsewhere; the
worker drops it when it wakes (see ``ipc/journal.py``). It gets no more to do until it has answered, and
its call has ended.

A worker that answers and still does not begin what it was sent whole is *held* between two calls, by a
finalizer that takes long. What it was sent runs elsewhere (``held.py`` says when), and the worker gets no more
until it says that it is ready. One task without a limit has no clock, and waits for the finalizer.

A worker that runs nothing and does not answer within `HUNG_AFTER` seconds hangs, and is
killed: what it was sent runs elsewhere. Each time in a row it is given twice as long, for it may be at work on
what it was sent, and no other worker would be faster.

Every call here is made by whoever has the turn.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.backends.process.books import HUNG_AFTER, Books
from workpool.backends.process.outcomes import reset, take_outcomes
from workpool.ipc import serving
from workpool.ipc.frames import pack
from workpool.ipc.outbox import VALUES
from workpool.safelog import SafeLog

if TYPE_CHECKING:
    from workpool.backends.process.flights import Flight
    from workpool.ipc.launch import WorkerHandle

__all__ = ["Seizing"]

_log = SafeLog("workpool")

ANSWER_WITHIN = 0.05  # seconds
_SETTLED_AFTER = 0.01  # seconds in which whatever a worker stores is seen here, many times over


class Seizing(Books):
    """Asks for what has not begun, and takes it where no answer comes."""

    def _ask(self, handle: WorkerHandle, upto: int) -> None:
        """Have everything back that has not begun, up to this number."""
        if not self._asks:
            self._asked_at = monotonic()
        self._asks += 1
        self._asked_upto = upto
        handle.control((serving.RECALL, upto))

    def _probe(self, handle: WorkerHandle, flight: Flight) -> None:
        """Find out whether the worker is alive, that has not begun this: it keeps what it has, the first times."""
        if self._asks:
            return
        number, sent = flight.first + flight.done, not handle.pending
        self._held.asked = self._held.look(number, self._ran, sent=sent)
        self._ask(handle, self._flights.next_number - 1 if self._held.asked else flight.first - 1)

    def _answered(self, handle: WorkerHandle, begun: int, upto: int) -> None:
        """Take in that nothing up to a number is to begin any more but what has; it may have been seized before."""
        self._asks -= 1
        self._asked_at = monotonic()
        self._hung_since, self._hung_after = None, HUNG_AFTER
        if self._stopped_at is not None:
            self._stopped_at = None
            handle.journal.go_on()
        # Its last call may hold it for long. What a slice has before that is finished, and sent when the slice ends.
        # After a mere probe (``upto`` is before that call) it goes on, and writes its next slice there.
        if begun <= upto and self._unanswered(begun):
            sliced = handle.journal.sliced_before(begun)
            if sliced is not None:
                self._ran += self._take_slice(*sliced)
        # What was sent since the recall has a moment of its own to be recalled at.
        units = reset(self._flights.take_from(begun + 1, upto))
        if self._held.asked and not self._flights:
            self._be_away(handle)
        self._held.asked = False
        self.scheduler.share_out(units)
        if self._flights:
            # It runs something slow: nothing more is sent behind that. Else this worker would be quicker to take
            # what it gave back than the one that was woken for it, and so again and again.
            self._batch = 0
        if self._put_off:
            self._obey_what_was_put_off(handle)

    def _be_away(self, handle: WorkerHandle) -> None:
        """Send the worker nothing until it says that it is ready; an end of the pool is heard meanwhile."""
        self._seized = self._held.away = True
        handle.post(pack((serving.HELLO,)))
        with self.scheduler.lock:
            self.scheduler.beginning.add(self)

    def _be_back(self) -> None:
        """Take in that the worker is ready, or dead."""
        self._held.away = False
        with self.scheduler.lock:
            self.scheduler.beginning.discard(self)

    def _keeps_still(self, handle: WorkerHandle) -> bool:
        """Tell whether a worker whose calls were seized is to be sent nothing yet."""
        if self._flights or self._asks:
            return True
        if self._held.away and not (self.leaving or self.scheduler.should_leave()):
            return True
        # Its call has ended, and so has its slice; what it drops still it finds by its number.
        handle.journal.open_gates()
        self._seized = False
        return False

    def _stop_waiting(self) -> None:
        """Forget what was asked of a worker that is dead."""
        self._asks, self._stopped_at, self._hung_since = 0, None, None
        self._seized, self._taken_upto = False, -1
        self._held.asked = False
        if self._held.away:
            self._be_back()

    def _answer_due(self, handle: WorkerHandle) -> float | None:
        """Give the moment at which a missing answer has a consequence, or None."""
        if not self._asks:
            return None
        if self._stopped_at is not None:
            return self._stopped_at + _SETTLED_AFTER
        if self._may_seize(handle):
            self._hung_since = None
            return self._asked_at + ANSWER_WITHIN
        if self._runs_something(handle):
            self._hung_since = None
            return None
        if self._hung_since is None:
            self._hung_since = monotonic()
            if self._ran:  # one that has worked well is no more in that row
                self._hung_after = HUNG_AFTER
        return self._hung_since + self._hung_after

    def _look_for_the_answer(self, handle: WorkerHandle) -> None:
        """Seize what has not begun, or kill a worker that runs nothing, if the answer has been missing for too long."""
        if not self._asks:
            return
        now = monotonic()
        if self._stopped_at is not None:
            if now >= self._stopped_at + _SETTLED_AFTER:
                self._seize(handle)
            return
        if self._may_seize(handle):
            if now >= self._asked_at + ANSWER_WITHIN:
                handle.journal.stop()
                self._stopped_at = now
            return
        since = self._hung_since
        if self._runs_something(handle) or since is None or now < since + self._hung_after:
            return
        before = self._asked_at, self._ran
        self._drain(handle)
        if (self._asked_at, self._ran) != before:
            self._hung_since = (
                None  # it was the driver who was late: what it has said lay in the pipe
            )
            return
        begun, _ = handle.journal.begun()
        if handle.journal.hold(begun):
            if self._runs_something(handle):
                handle.journal.go_on()  # it began that at this very moment
                return
            self._hung_after *= 2
            _log.warning(
                "worker %d of %s runs nothing and does not answer: it is ended, what it was sent runs elsewhere",
                self.index,
                self.scheduler.name,
            )
            self._doomed, self._ended_at = "hanging between two tasks", begun
            handle.kill()

    def _runs_something(self, handle: WorkerHandle) -> bool:
        flight = self._flights.current
        if flight is None or self._seized:
            return flight is not None
        # Of a slice the first values may be here already: what counts is the call that runs in it.
        return handle.journal.running()[0] >= flight.first + flight.done

    def _may_seize(self, handle: WorkerHandle) -> bool:
        """Tell whether something waits behind a call that runs, or is to be ended before it has begun.

        Else what was sent is left with the worker: it may be on its way still, and would be sent again and again.
        """
        if self._seized or not self._flights:
            return False
        return bool(self._put_off) or (
            self._flights.outstanding > 1 and self._runs_something(handle)
        )

    def _seize(self, handle: WorkerHandle) -> None:
        """Take in what is finished, and take all that has not begun, from a worker that was stopped a moment ago."""
        left = handle.journal.standing()
        # What it has sent before that is in the pipe; there may be an answer among it.
        self._drain(handle)
        if self._stopped_at is None:
            return
        if left is None:
            self._stopped_at = monotonic()  # it moves: look again
            return
        begun, outcomes, sliced = left
        self._hear(handle)
        self._ran += self._settle_from_journal(handle, outcomes, sliced)
        self._stopped_at = None
        if not self._flights:
            handle.journal.go_on()
            self._obey_what_was_put_off(handle)
            return
        upto = self._flights.next_number - 1
        handle.journal.take(begun + 1, upto)
        self._seized, self._taken_upto = True, upto
        # What it says then is exact, also of a slice that ended at a gate before its last call began.
        self._ask(handle, upto)
        self.scheduler.share_out(reset(self._flights.take_from(begun + 1)))
        self._obey_what_was_put_off(handle)

    def _drain(self, handle: WorkerHandle) -> None:
        """Take in all that the worker has said by now."""
        while frames := handle.receive():
            self._hear(handle)
            self._take_in(handle, frames)

    def _spare_the_look(self, handle: WorkerHandle) -> None:
        """Have the worker look no more for what was seized, once it has begun something later."""
        if handle.journal.begun()[0] > self._taken_upto:
            self._taken_upto = -1
            handle.journal.forget_taken()

    # ------------------------------------------------------------ what stands in the journal

    def _settle_from_journal(
        self, handle: WorkerHandle, outcomes: list[Any], sliced: tuple[int, list[Any]] | None
    ) -> int:
        """Settle what the journal says and the pipe did not; gives how many calls."""
        settled = 0
        if sliced is not None:
            # What came before it; the failure that ended it comes after it.
            before = [outcome for outcome in outcomes if outcome[0] < sliced[0]]
            settled = self._settle_unanswered(handle, before) + self._take_slice(*sliced)
        return settled + self._settle_unanswered(handle, outcomes)

    def _settle_unanswered(self, handle: WorkerHandle, outcomes: list[Any]) -> int:
        return self._settle(handle, [each for each in outcomes if self._unanswered(each[0])])

    def _unanswered(self, number: int) -> bool:
        flight = self._flights.current
        return flight is not None and number >= flight.first + flight.done

    def _take_slice(self, first: int, values: list[Any]) -> int:
        """Take in the values that the journal has of a slice, but for those that came already; gives how many."""
        flight = self._flights.current
        if flight is None or not values:
            return 0
        known = max(0, flight.first + flight.done - first)
        fresh = values[known : known + flight.size - flight.done]
        if fresh and first + known == flight.first + flight.done:
            outcome = (first + known, VALUES, fresh, 0, 0, len(fresh))
            return take_outcomes(self.scheduler, self._flights, [outcome])
        return 0

    # --------------------------------------------------------------------- done by others

    def _settle(self, handle: WorkerHandle, outcomes: list[Any]) -> int:
        raise NotImplementedError

    def _hear(self, handle: WorkerHandle) -> None:
        raise NotImplementedError

    def _take_in(self, handle: WorkerHandle, frames: list[Any]) -> None:
        raise NotImplementedError

    def _obey_what_was_put_off(self, handle: WorkerHandle) -> None:
        raise NotImplementedError

    def _kill_leaver(self) -> None:
        raise NotImplementedError
