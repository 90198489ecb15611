"""A task: a future that knows its call.

A task costs one allocation. What a future needs only when somebody waits (a
condition, lists of waiters and callbacks) is made when somebody does.

One lock decides every change of state. It is the scheduler's, so that taking a
task off the queue and marking it running, or storing a result and counting it
done, is one step; a task of no pool uses a lock common to all such tasks.

- PENDING to RUNNING or CANCELLED, and RUNNING to FINISHED, happen under the lock:
  of two who try, one wins and the other sees it.
- Whoever settles a task takes its ``_extras`` (``waiters.py``) in the same step. Who comes to wait
  registers under the lock too, and so is either seen by the one who settles, or
  sees the settled state. Nobody can fall between.
- A finalizer may strike the very thread that holds the lock, and cancel (``cancelling.py``): nobody
  who holds it takes a state for granted over a call.
- The state is kept in ``_stage``. ``_state`` is what ``concurrent.futures.wait`` and
  ``as_completed`` read of it, who want it to stay while they look (``foreign.py``).
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from concurrent.futures._base import (
    CANCELLED,
    CANCELLED_AND_NOTIFIED,
    FINISHED,
    PENDING,
    RUNNING,
)
from functools import partial
from time import monotonic
from types import FunctionType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from workpool._compat import RLock, across_forks
from workpool.calm import is_strike
from workpool.cancelling import cancel
from workpool.errors import Midway, NotPicklable
from workpool.eventloops import needs_the_loop, tells_asyncio
from workpool.facts import Facts
from workpool.foreign import Condition, Waiters, noted
from workpool.midway import known
from workpool.naming import function_name
from workpool.outside import begin, settle
from workpool.safelog import SafeLog
from workpool.situation import here
from workpool.waiters import Extras, flatly
from workpool.waits import checked_timeout, make_sleeper, sleep_on

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from workpool.owner import Owner
    from workpool.situation import Mark

__all__ = ["CANCELLED_AND_NOTIFIED", "FINISHED", "PENDING", "RUNNING", "Task"]

R = TypeVar("R")

_log = SafeLog("concurrent.futures")
# Guards the state of every task that belongs to no pool.
_orphans_lock = across_forks(RLock())
known(_orphans_lock, _orphans_lock)


class Task(Facts, Future[R]):
    """A call that was accepted by a pool, and its outcome.

    A :class:`concurrent.futures.Future` in every respect, which also knows where
    and how often it ran, can be awaited, and can be cancelled while it runs on
    a backend that can end a task.

    Attributes
    ----------
    id : int
        Number of the task within its pool, from 0; ``-1`` for a task of no pool.
    """

    # As in Facts. Defaults of the class are good enough for what few tasks have.
    __slots__ = (
        "_epoch",
        "_exception",
        "_extras",
        "_lock",
        "_owner",
        "_payload",
        "_result",
        "_stage",
        "_unwanted",
        "id",
    )

    # The parts pickled so that the worker need not import __main__: 1 function, 2 arguments.
    _by_value = 0
    _epoch: Any
    _exception: BaseException | None
    _extras: Extras | None
    _heed: tuple[Callable[[], object], ...] = ()  # to be called when it becomes unwanted
    _hurried_at: int = -1  # the attempts before which it was put first in the queue, for who waits
    _mark: Mark | None = None  # of the attempt that wanted one last; its number is the attempt's
    _lock: Any  # guards _stage, _result, _exception, _extras
    _owner: Owner | None
    _payload: Any
    _result: Any
    _stage: str
    _unwanted: bool  # cancelled while it was with a worker: sees it, and begins no more
    id: int

    def __init__(self) -> None:
        """Make a pending task that belongs to no pool; pools make their own."""
        self._stage = PENDING
        self._result = self._exception = self._extras = None
        self._owner = self._epoch = self._payload = None
        self._lock = _orphans_lock
        self._unwanted = False
        self.id = -1
        self._call = self._called = self._terms = self._worker = self._printed = None
        self._attempts = 0
        self._queued_at = self._started_at = self._ended_at = 0.0

    def __reduce__(self) -> NoReturn:
        message = (
            f"task {self.id} ({self._name}) cannot leave the process that waits for it. Pass the result of it, or "
            "what the other side needs to make the call itself."
        )
        raise NotPicklable(message, part="argument")

    def __repr__(self) -> str:
        """Show name, id and state."""
        return f"<Task {self.id} {self._name} {self._stage.lower()}>"

    # ------------------------------------------------------------- the future's calls

    def cancel(self, *, kill: bool = False) -> bool:
        """Cancel the task if it has not started.

        Parameters
        ----------
        kill : bool
            Also end a task that is running, where the backend can: a process is
            ended and replaced, a thread is written off and replaced. For one that is on its way
            to its worker, or with it and not begun, no worker is ended. From a finalizer
            that strikes in the middle of a step of the pool, and from a callback where
            that has no thread to wait in, it is ended a moment later (``False``).
            So is any task that a finalizer cancels in the middle of a step of another
            pool, while some thread makes one of this task's.

        Returns
        -------
        bool
            ``True`` if the task is cancelled, or was ended. ``False`` for a task
            that runs; from then on it sees ``workpool.current().cancelled``.
        """
        return cancel(self, kill=kill)

    def cancelled(self) -> bool:
        """Tell whether the task was cancelled."""
        return self._stage in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        """Tell whether the task is with a worker now."""
        return self._stage == RUNNING

    def done(self) -> bool:
        """Tell whether the task has a result, an error, or was cancelled."""
        return self._stage in (FINISHED, CANCELLED_AND_NOTIFIED, CANCELLED)

    def result(self, timeout: float | None = None) -> R:
        """Wait for the result and return it, or raise the task's error.

        Parameters
        ----------
        timeout : float or None, seconds
            Longest wait; ``None`` waits for ever. Longer is a wait inside a task of the same pool
            ``"inline"``, which runs this one meanwhile.

        Raises
        ------
        TimeoutError
            The task was not done in time.
        concurrent.futures.CancelledError
            The task was cancelled.
        WouldDeadlock
            The task itself asked, or a task that runs inside of it, or a callback that is in the way.
        """
        timeout = timeout if timeout is None else checked_timeout(timeout)
        if self._stage != FINISHED:
            self._wait(timeout)
            if self._stage != FINISHED:
                raise CancelledError
        if self._exception is not None:
            try:
                raise self._exception
            finally:
                del self  # break the cycle task, error, traceback, this frame, task
        return cast("R", self._result)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return the task's error, or ``None``.

        Parameters
        ----------
        timeout : float or None, seconds
            Longest wait; ``None`` waits for ever.

        Raises
        ------
        TimeoutError
            The task was not done in time.
        concurrent.futures.CancelledError
            The task was cancelled.
        """
        timeout = timeout if timeout is None else checked_timeout(timeout)
        if self._stage != FINISHED:
            self._wait(timeout)
            if self._stage != FINISHED:
                raise CancelledError
        return self._exception

    def add_done_callback(self, fn: Callable[[Task[R]], object]) -> None:
        """Call ``fn(task)`` when the task is done; at once if it is.

        Parameters
        ----------
        fn : callable
            Runs in the thread that settles the task, before :meth:`Pool.join` counts
            the task done; that of a thread's task past its time limit, and of one that a finalizer
            cancels in the middle of a step, in a thread of its own.
            What it raises is logged.

        Raises
        ------
        TypeError
            It is the callback of ``asyncio.wait``, which takes futures of asyncio only.
        """
        if needs_the_loop(fn):
            message = (
                f"asyncio.wait() cannot wait for task {self.id} ({self._name}) itself: what calls back is a worker's "
                "thread. Give it asyncio.ensure_future(task), or take asyncio.gather(), which does so."
            )
            raise TypeError(message)
        try:
            with self._lock:
                done = self.done()
                if not done:
                    self._more().callbacks.append(fn)
        except Midway:
            if self._owner is None:
                raise
            # It may be called at once there, and wait for what is put off behind this.
            call = partial(self.add_done_callback, fn)
            self._owner.without_lock(partial(self._owner.aside, call))
            return
        if done:
            flatly(partial(self._call_back, fn))
        elif self._owner is not None:
            self._owner.listen()
            if here.worker is not None and tells_asyncio(fn):
                self._owner.before_callback(self)

    def set_running_or_notify_cancel(self) -> bool:
        """Start the task; ``False`` if it was cancelled. For executors and tests: no worker begins it then."""
        return begin(self)

    def set_result(self, result: R) -> None:
        """Settle the task with a result. For executors and tests: what a worker makes of it is dropped."""
        settle(self, result, None)

    def set_exception(self, exception: BaseException | None) -> None:
        """Settle the task with an error. For executors and tests."""
        settle(self, None, exception)

    def __await__(self) -> Generator[Any, None, R]:
        """Wait without blocking a thread, in asyncio or trio; cancelling the await cancels the task."""
        if not self.done():
            from workpool.eventloops import wakeup

            owner = self._owner
            if owner is not None:
                owner.before_foreign_wait(self)
            waking = wakeup()
            self.add_done_callback(waking.set)
            try:
                yield from waking.__await__()
            except GeneratorExit:
                raise  # nobody has cancelled it: the coroutine was let go of
            except BaseException:
                self.cancel()
                raise
        try:
            if self._stage != FINISHED:
                from workpool.eventloops import cancelled_error

                raise cancelled_error()
            return self.result()
        finally:
            del self  # break the cycle task, error, traceback, this frame, task

    # ----------------------------------------------- what concurrent.futures reaches for

    # Attributes to whoever checks types, as in Future; made when they are asked for.
    if not TYPE_CHECKING:

        @property
        def _state(self) -> str:
            extras = self._extras
            if extras is None or not extras.views:
                return self._stage
            return noted(extras.views, self._stage)

        @_state.setter
        def _state(self, state: str) -> None:
            self._stage = state

        @property
        def _condition(self) -> Condition:
            owner = self._owner
            if owner is not None:
                owner.before_foreign_wait(self)
                owner.listen()
            return Condition(self)

        @property
        def _waiters(self) -> Waiters:
            return Waiters(self)

        @property
        def _done_callbacks(self) -> list[Callable[[Future[Any]], object]]:
            with self._lock:
                return self._more().callbacks

    # ------------------------------------------------------------- for the scheduler

    def settle(self, result: Any, exception: BaseException | None) -> Extras | None:
        """Store the outcome and give what waits for it; called with the lock held.

        The caller then lets go of the lock and has what it got tell (``Extras.tell``).
        The extras stay with the task: some are still to forget what they noted there.
        """
        self._result = result
        if exception is not None:
            self._exception = exception
        self._stage = FINISHED
        call = self._call
        if call is not None:  # as in _drop_call
            fn = call[0]
            self._called = fn.__qualname__ if type(fn) is FunctionType else function_name(fn)
            self._call = self._payload = None
        return self._extras

    def _drop_call(self) -> None:
        call = self._call
        if call is not None:
            self._called = function_name(call[0])
            self._call = self._payload = None

    # -------------------------------------------------------------------- below

    def _more(self) -> Extras:
        """Give the extras, made if need be; called with the lock held."""
        extras = self._extras
        if extras is None:
            extras = self._extras = Extras()
        return extras

    def _wait(self, timeout: float | None) -> None:
        """Wait until the task is done, or raise TimeoutError."""
        owner = self._owner
        wait: Any = None
        if owner is not None and (timeout is None or timeout > 0):
            until = None if timeout is None else monotonic() + timeout
            wait = owner.assist(self, timeout)
            timeout = None if until is None else until - monotonic()
        try:
            if self._stage is FINISHED:  # with the help of this very thread
                return
            sleeper = make_sleeper()
            with self._lock:
                if self.done():
                    return
                self._more().sleepers.append(sleeper)
            if sleep_on(sleeper, timeout):
                return
            with self._lock:
                if self.done():
                    return
                self._more().sleepers.remove(sleeper)
            raise self._not_yet()
        finally:
            if wait is not None and owner is not None:
                owner.waited(wait)

    def _call_back(self, fn: Callable[[Task[R]], object]) -> None:
        try:
            fn(self)
        except Exception as error:
            if is_strike(error):
                raise
            _log.exception("exception calling callback for %r", self)
