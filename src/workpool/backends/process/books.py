"""What a driver knows of its worker, and what others may ask of it.

Whoever has the *turn* may use pipes, flights and process handle (see the driver).
Everybody else leaves a word in ``_orders`` and wakes the driver by one write.
"""

from __future__ import annotations

import select
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from workpool.backends.process.flights import Flight, Flights
from workpool.backends.process.held import Held
from workpool.calm import calmly
from workpool.ipc.waker import Waker
from workpool.scheduling.worker import WorkerThread, describe, describe_item
from workpool.situation import here
from workpool.task import RUNNING, Task
from workpool.waits import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.backends.process.backend import PipedBackend
    from workpool.backends.process.hearing import Hearing
    from workpool.backends.process.leaving import Leaver
    from workpool.ipc.launch import WorkerHandle
    from workpool.ipc.watch import Watch
    from workpool.scheduling.mapjob import MapJob
    from workpool.scheduling.scheduler import Scheduler

__all__ = ["HUNG_AFTER", "Books", "Order", "answer", "name_of"]

HUNG_AFTER = 2.0  # seconds in which a worker that runs nothing answers, the first time

# What others ask of a worker: to be killed (with the name of why), to let a task, the items of a
# map call, or all it has (None) see that they are not wanted, or to end with a task, if it runs
# it, and say when that is done.
Order: TypeAlias = "str | Task[Any] | MapJob | tuple[Task[Any], Event] | None"


class Books:
    """One worker: a thread, the process it keeps alive, and what that has to do."""

    can_nest = sets_up = looks_again = False
    waits_at: tuple[Any, ...] = ()

    def __init__(self, backend: PipedBackend, scheduler: Scheduler, index: int) -> None:
        self.scheduler = scheduler
        self.index = index
        self.inbox: Any = None
        self.lent = self.leaving = False
        self.fresh = True
        self.waits_on = self.lends_for = None  # its callbacks wait at their own risk
        self.written_off = False
        self._backend = backend
        # Guards all below but _orders and _asked; see above. Taken in a calm or listening step, never by a block.
        self._turn = threading.Lock()  # house: lock - see above
        self._orders: deque[Order] = deque()  # appended to by anyone, taken by the driver
        self._waker: Waker | None = None  # of the driver, while it is there
        self._wake_r = -1  # what the driver sleeps on, to be woken by that
        self.wake: Any = int  # does nothing until there is somebody to be woken
        self._thread = WorkerThread(self._run, f"{backend.pool}-{index}")
        self._handle: WorkerHandle | None = None
        self._watch: Watch | None = None  # what the driver sleeps on
        self._poller = select.poll()  # what a thread that waits for a result sleeps on
        self._flights = Flights(index, backend.far)
        self._hearing: Hearing | None = None
        if backend.reporting is not None:
            from workpool.backends.process.hearing import Hearing

            self._hearing = Hearing(scheduler.name, index, self._flights)
        self._serving = False  # the process is ready, and was not told to leave
        self._asked = (
            False  # somebody wants results heeded who could not have the turn; set by anyone
        )
        self._in_doubt = False  # somebody was interrupted while it was their turn
        self._batch = 1  # calls in the latest batch
        self._ran: int = 0  # calls finished in this life
        self._starved = (
            False  # the system had no process to give, and others are there to do the work
        )
        self._started_at = 0.0  # when this life began
        self._kills_before = 0  # processes that the OOM killer had ended when this one started
        self._doomed: Order | BaseException | None = None  # why the process was killed by us
        self._ended_at: int | None = (
            None  # number of the call it was killed for: none was run after it
        )
        self._put_off: list[Order] = []  # until it is known whether a task has begun
        self._recall_at: float | None = None
        # When the latest batch is overdue by far. What had begun at the latest look, and when.
        self._overdue_at, self._looked = 0.0, (-1, 0.0)
        self._asks = 0  # recalls that the worker has not answered; the rest is in ``seizing.py``
        # When the first of them was sent, or the latest answer came; the last number the latest is about.
        self._asked_at, self._asked_upto = 0.0, -1
        self._stopped_at: float | None = None  # since when the worker begins nothing
        self._seized = (
            False  # it was taken everything that it had not begun, and is sent nothing yet
        )
        self._taken_upto = -1  # the last number that was taken so, while the worker looks for it
        self._hung_since: float | None = None  # since when it runs nothing, and does not answer
        self._hung_after = HUNG_AFTER  # seconds after which it is killed for that
        self._held = Held()
        # Once it was told to leave; see ``leaving.py``.
        self._end_by: float | None = None  # when it is killed, if it has not ended
        self._left_at: float | None = None  # when it had left its context
        self._leaver: Leaver | None = None  # the one before, which ends beside this one
        self._unbegun = -1, 0.0  # number of a call with a limit that has not begun, and since when
        self._warned = -1  # number of the call that was last told to end
        self._patience = self._trim_pause = 0.0  # seconds, to a recall and to a look at free memory
        self._trim_at: float | None = None  # when memory of large payloads goes back, if none come

    def too_deep(self, task: Task[Any]) -> bool:
        """No task is ever run inside another here, and nobody asks."""
        raise AssertionError(task)

    def start(self) -> None:
        """Start the thread; the process follows. An OSError or RuntimeError if the system has none to give."""
        calmly(self._start)

    def never_begins(self) -> None:
        """Have ended, for whoever waits for that."""
        self._thread.give_up()

    @property
    def started(self) -> bool:
        """Whether there is a thread."""
        return self._thread.ident is not None

    def _start(self) -> None:
        self._waker = waker = Waker()
        self._wake_r, self.wake = waker.fd, waker.ring
        try:
            self._thread.start()
        except BaseException:
            self._close_wake()
            raise

    def join(self, timeout: float | None) -> bool:
        """Wait for the thread's end, and so the process's."""
        return self._thread.ended(timeout)

    def kill(self) -> None:
        """Have the driver kill the process."""
        self._order("Pool.kill()")

    def end_task(self, task: Task[Any]) -> bool:
        """Have the driver end the process if it runs the task; waits until that is settled.

        A callback in a driver's thread does not wait: for the driver would be this one, or
        one that waits in a callback of its own for this one. Nor does the timers' thread:
        time limits of others run out meanwhile.
        """
        heard = Event()
        with self.scheduler.lock:
            # In one step: one that is on the list answers before it ends, one that has left never would.
            if task._stage is not RUNNING or self.scheduler.workers.get(self.index) is not self:
                return task.cancelled()
            self._order((task, heard))
        worker = here.worker
        if (worker is not None and not worker.can_nest) or self.scheduler.timers.is_this_thread:
            return False
        heard.wait()
        return task.cancelled()

    def ask_to_end(self, what: Task[Any] | MapJob | None) -> None:
        """Have the worker let a task, the items of a map call, or all see that they are not wanted any more."""
        self._order(what)

    def running(self) -> list[tuple[str, float]]:
        """Name the call that runs, with its age in seconds, as the journal has it."""
        handle, flight = self._handle, self._flights.current
        if handle is None or flight is None:
            return []
        try:
            number, since = handle.journal.running()
        except ValueError:  # closed this moment
            return []
        if number < flight.first + flight.done:
            return []
        return [(name_of(flight, number), max(0.0, monotonic() - since))]

    def ask_for_stack(self) -> Callable[[float], str]:
        """Ask the process where it stands; whoever has the turn has no part in it."""
        handle = self._handle
        if handle is None or not handle.stacks.ask():
            return lambda _: "(the worker is starting or ending)\n"
        asked = handle.stacks

        def answer(until: float) -> str:
            text = asked.answer(until)
            return (
                text if text is not None else "(no answer: the worker is stopped, or has ended)\n"
            )

        return answer

    def _order(self, order: Order) -> None:
        self._orders.append(order)
        self.wake()

    def _close_wake(self) -> None:
        self.wake, self._waker = int, None  # nobody is there to be woken

    def _woken(self) -> None:
        """Take in that somebody has woken the driver."""
        if self._waker is not None:
            self._waker.hush()

    def hand_over(self) -> None:
        """Do the worker's part at once; the driver's affair."""
        raise NotImplementedError

    def _run(self) -> None:
        """Run as the driver's thread."""
        raise NotImplementedError


def name_of(flight: Flight, number: int) -> str:
    """Name a call of a flight for messages."""
    if flight.task is not None:
        return describe(flight.task)
    assert flight.chunk is not None
    return describe_item(flight.chunk, number - flight.first)


def answer(order: Order | BaseException | None) -> None:
    """Tell whoever gave an order that it is dealt with."""
    if isinstance(order, tuple):
        order[1].set()
