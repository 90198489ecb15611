"""Structured concurrency: tasks that do not outlive the block that submits them.

Here is the block: how it begins, how it waits for what is left, and what it raises.
Who belongs to the group, and what its guarantees rest on, is in ``members.py``.

What strikes while the block waits, or ends it
- An error in the block: the rest is cancelled, waited for, and all is told together.
- KeyboardInterrupt, in the block or in the wait: the rest is cancelled, and nobody waits.
- Any other exception in the wait (a time limit of the task that this block is part of):
  the rest is cancelled and waited for; a second one ends the wait.
- A cancelled ``async with``: likewise, however often it is cancelled meanwhile.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Self, cast

from workpool.errors import ForkedPool, Unsupported, WouldDeadlock
from workpool.members import CONSEQUENCES, Members, Submits, is_async_cancellation
from workpool.situation import here
from workpool.task import Task
from workpool.traces import set_context
from workpool.waits import checked_timeout

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from workpool.scheduling.scheduler import Scheduler

__all__ = ["Group", "Grouping"]

_LOOK_AGAIN = 0.2  # seconds; Ctrl-C may strike in the instant before a thread falls asleep


class Grouping:
    """The call of a pool, and of its ``options`` view, that makes groups."""

    _scheduler: Scheduler
    _ends_tasks: bool

    def group(self, *, kill_after: float | None = None) -> Group:
        """Make a group: a block that ends when all its tasks are done.

        Parameters
        ----------
        kill_after : float or None, seconds
            When the group is cancelled, tasks that run are asked to end
            (``workpool.current().cancelled``). ``None`` waits for them. A number ends those that still
            run so many seconds later, 0 at once, without their ``finally`` blocks.

        Returns
        -------
        Group
            A context manager for ``with`` and ``async with``.

        Raises
        ------
        TypeError, ValueError
            ``kill_after`` is no number of seconds.
        Unsupported
            ``kill_after`` with a backend that cannot end a task.
        """
        if kill_after is not None:
            # Here, not above: a worker process that knows of groups does without terms.
            from workpool.scheduling.terms import check_seconds

            check_seconds("kill_after", kill_after)
            if not self._ends_tasks:
                message = (
                    f"kill_after={kill_after} cannot be kept: tasks of this backend cannot be ended. Use "
                    'backend="process", or let long tasks look at workpool.current().cancelled.'
                )
                raise Unsupported(message)
        return Group(
            cast("Submits", self),
            self._scheduler,
            checked_timeout(kill_after),
            ends_tasks=self._ends_tasks,
        )


class Group(Members):
    """Tasks that do not outlive a block; made by ``Pool.group``.

    ``with pool.group() as group: group.submit(...)``, or ``async with``. The block is left when
    all its tasks are done, whoever submitted them: the block, other threads, or
    (where they share its memory) its own tasks.

    The first task that fails, or an exception in the block, cancels the rest: what
    is queued does not run, what runs sees ``workpool.current().cancelled``. When all are done, an
    :class:`ExceptionGroup` tells all that failed. A task that was cancelled by itself is no failure.

    ``KeyboardInterrupt`` is raised at once, without waiting for what runs: it is
    killed where that can be. ``SystemExit`` and ``GeneratorExit`` in the block are raised
    as they are, after the wait. In an ``async with`` the block itself is cancelled too,
    and no thread is blocked by the wait.
    """

    # ------------------------------------------------------------------- with

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        absorbed = self._leave_block(error)
        if isinstance(error, KeyboardInterrupt):
            self._abandon()
            return False
        return self._conclude(error, self._wait(), absorbed=absorbed)

    async def __aenter__(self) -> Self:
        import asyncio

        from workpool.eventloops import in_asyncio, runs_a_loop

        if not in_asyncio() and runs_a_loop():
            message = (
                "`async with pool.group()` needs a loop of asyncio's kind, and this one is trio's. Await tasks in a "
                "nursery, nursery.start_soon(pool.run, fn), or use `with pool.group()` in a thread."
            )
            raise Unsupported(message)
        self._begin()
        parent, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert parent is not None
        self._interrupt = lambda: loop.call_soon_threadsafe(self._interrupt_block, parent)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        import asyncio

        parent = asyncio.current_task()
        assert parent is not None
        absorbed = self._leave_block(error)
        stopped: BaseException | None = error if isinstance(error, asyncio.CancelledError) else None
        if self._interrupted and parent.uncancel() == 0 and stopped is not None:
            stopped, absorbed = (
                None,
                True,
            )  # it was this group that cancelled the block, nobody else
        if isinstance(error, KeyboardInterrupt):
            self._abandon()
            return False
        stopped = await self._wait_async() or stopped
        if stopped is None:
            return self._conclude(error, None, absorbed=absorbed)
        if self._errors:
            # Told by the errors now, and by CancelledError at the next await.
            if parent.cancelling():
                parent.uncancel()
                parent.cancel()
            return self._conclude(None, None, absorbed=False)
        return self._conclude(error, None if stopped is error else stopped, absorbed=False)

    # -------------------------------------------------------------- the block's end

    def _begin(self) -> None:
        with self._lock:
            if self._state != "new":
                message = "a group has one block; make another group by pool.group()"
                raise RuntimeError(message)
            self._state = "open"
        part_of = getattr(here.worker, "task", None)
        if isinstance(part_of, Task):
            # The task's lock orders this and its cancel(): one of the two sees the other.
            with part_of._lock:
                part_of._heed = (*part_of._heed, self._cancel_from_outside)
                unwanted = part_of._unwanted
            self._part_of = part_of
            if unwanted:
                self._cancel_from_outside()

    def _leave_block(self, error: BaseException | None) -> bool:
        """Note the block's error, cancel after one; tell whether it only says that the group is cancelled."""
        with self._lock:
            self._state = "closing"
            self._interrupt = None
            absorbed = self._cancelled and isinstance(error, CONSEQUENCES)
            if error is not None and not absorbed and not _is_bare(error):
                self._errors.append(error)
                self._block_failed = True
        if error is not None:
            self.cancel()
        return absorbed

    def _wait(self) -> BaseException | None:
        """Wait until all tasks are done; give the exception that struck meanwhile.

        It cancels the rest, and then the wait goes on. KeyboardInterrupt ends it, and so
        does what would strike again.
        """
        struck: BaseException | None = None
        while True:
            try:
                for task in self._left():
                    if not task.done():
                        task._wait(None)  # where this thread is a worker, it helps
                    self._note(task)
                with self._lock:
                    self._forget_the_torn()
                    if self._end_if_quiet():
                        return struck
                    arriving = not self._tasks
                    if arriving:
                        self._quiet.clear()  # under the lock: whoever arrives after this puts it up
                if arriving:
                    # A submit on its way may wait for room, which this thread may be the one to make.
                    with self._scheduler.waiting_for_room():
                        self._quiet.wait(_LOOK_AGAIN)
            except BaseException as raised:
                if struck is not None or isinstance(
                    raised, (KeyboardInterrupt, WouldDeadlock, ForkedPool)
                ):
                    self._abandon()
                    raise
                struck = raised
                self.cancel()

    async def _wait_async(self) -> BaseException | None:
        """Wait likewise, without blocking a thread; give the cancellation that came meanwhile."""
        import asyncio
        from functools import partial

        loop = asyncio.get_running_loop()
        stopped: BaseException | None = None
        while True:
            quiet = asyncio.Event()
            with self._lock:
                if self._end_if_quiet():
                    return stopped
                self._listener = partial(loop.call_soon_threadsafe, quiet.set)
                one = next(iter(self._tasks), None)
                arriving = bool(self._arriving)
            if one is not None and one._owner is not None:
                one._owner.before_foreign_wait(one)  # this loop may run in a worker of that pool
            room = self._scheduler.waiting_for_room(in_loop=True) if arriving else nullcontext()
            try:
                with room:  # as in _wait
                    await quiet.wait()
            except asyncio.CancelledError as raised:
                stopped = raised
                self.cancel()
            except BaseException:
                self._abandon()
                raise

    def _conclude(
        self, error: BaseException | None, struck: BaseException | None, *, absorbed: bool
    ) -> bool:
        """Raise what the block is to raise; else tell whether its exception is dealt with."""
        part_of, self._part_of = self._part_of, None
        if part_of is not None:
            with part_of._lock:
                part_of._heed = tuple(
                    tell for tell in part_of._heed if tell != self._cancel_from_outside
                )
        errors, self._errors = self._errors, []
        told = BaseExceptionGroup(self._summary(), errors) if errors else None
        bare = struck
        if bare is None and not absorbed and _is_bare(error):
            bare = error
        try:
            if bare is not None:
                if told is not None and bare.__context__ is None:
                    set_context(bare, told)
                if struck is not None:
                    raise struck
                return False
            if told is not None:
                raise told from None
            if self._from_outside and error is None:
                message = "the task that this group is part of was cancelled"
                raise CancelledError(message)
            return absorbed and not self._from_outside
        finally:
            del errors, told, bare, error, struck  # no cycle through the traceback

    def _summary(self) -> str:
        failed = ["the block"] if self._block_failed else []
        if self._failed:
            failed.append(f"{self._failed} of {self._submitted} tasks")
        return f"{' and '.join(failed)} failed in a group of {self._name}"

    def _abandon(self) -> None:
        """Leave without waiting: nothing is accepted, what can be ended is ended."""
        self.cancel()
        with self._lock:
            self._state = "ended"
            self._calls = None
        if self._ends_tasks:
            self._kill_in(0.0)

    def _cancel_from_outside(self) -> None:
        self._from_outside = True
        self.cancel()

    def _interrupt_block(self, parent: asyncio.Task[Any]) -> None:
        """Cancel the async block, in the thread of its loop; not when it has come to its end."""
        if self._state == "open" and not self._interrupted:
            self._interrupted = True
            parent.cancel()


def _is_bare(error: BaseException | None) -> bool:
    """Tell whether an exception in the block is raised as it is: it is about the program, not the work."""
    return isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)) or (
        error is not None and is_async_cancellation(error)
    )
