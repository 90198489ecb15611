"""What the scheduler knows of a worker, whatever runs its tasks; and how messages name what it runs."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from workpool._compat import daemon_threads_allowed
from workpool.calm import calmly
from workpool.errors import WorkerLost
from workpool.naming import function_name
from workpool.task import Task
from workpool.waits import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.scheduling.mapjob import Chunk, MapJob

__all__ = [
    "Worker",
    "WorkerThread",
    "describe",
    "describe_item",
    "no_clock",
    "not_affected",
]


class Worker(Protocol):
    """One worker, as the scheduler sees it: an inbox, a wake-up call and an end."""

    index: int
    lent: bool  # one worker more is allowed, because this one waits for its own pool; guarded by the same lock
    leaving: (
        bool  # it is one too many, and to leave when it has nothing more to do; guarded likewise
    )
    fresh: bool  # one that was lent, and has not asked for anything yet; guarded likewise
    inbox: Any  # a task or chunk handed over; guarded by the scheduler's lock

    @property
    def can_nest(self) -> bool:
        """Whether it runs tasks in a thread of this process, and so one inside another."""
        ...

    def too_deep(self, task: Task[Any]) -> bool:
        """Tell whether the stack is too deep to run a task inside another; WouldDeadlock if nobody else can."""
        ...

    @property
    def wake(self) -> Callable[[], object]:
        """Have the worker look into inbox and queue: one C call, safe at any time from any thread."""
        ...

    @property
    def hand_over(self) -> Callable[[], None] | None:
        """Do the worker's part at once, in the thread that submits; None if it cannot."""
        ...

    @property
    def started(self) -> bool:
        """Whether ``start`` came so far that the worker will leave by itself."""
        ...

    def start(self) -> None:
        """Begin to work, in a thread of its own; an OSError or RuntimeError if it cannot."""

    def never_begins(self) -> None:
        """Hear that nobody will start it: whoever waits for its end has seen it."""

    def kill(self) -> None:
        """End at once; what runs is settled by the worker's own thread, or by this call."""

    def end_task(self, task: Task[Any]) -> bool:
        """End the task if this worker runs it, and settle it as cancelled."""
        ...

    def ask_to_end(self, what: Task[Any] | MapJob | None) -> None:
        """Let a task, the items of a map call, or all that runs here see that they are not wanted any more."""

    def join(self, timeout: float | None) -> bool:
        """Wait for the worker's end; tell whether it came."""
        ...

    def ask_for_stack(self) -> Callable[[float], str]:
        """Ask where it stands; what this gives waits for the answer, until a moment at most."""
        ...

    def running(self) -> list[tuple[str, float]]:
        """Name what runs now, each with its age in seconds."""
        ...


class WorkerThread(threading.Thread):
    """A daemon thread whose end can be waited for before it has been started.

    A worker is in the scheduler's list a moment before its thread starts, so that nobody
    hires a second one; whoever waits for all workers to leave may come in between.
    """

    def __init__(self, target: Callable[[], None], name: str) -> None:
        super().__init__(target=target, name=name, daemon=daemon_threads_allowed())
        self._tried = Event()
        self._left = Event()  # nothing of ours runs in it any more

    def start(self) -> None:
        """Start, or raise what the system says."""
        try:
            super().start()
        finally:
            self._tried.set()

    def run(self) -> None:
        """Run what was given, and say when that is over."""
        try:
            super().run()
        finally:
            self._left.set()

    def give_up(self) -> None:
        """Note that nobody will try to start it."""
        self._tried.set()

    def ended(self, timeout: float | None) -> bool:
        """Wait for the end, also that of an attempt to start; tell whether it came."""
        until = None if timeout is None else monotonic() + timeout
        if not self._tried.wait(timeout):
            return False
        if self.ident is None:  # the system had no thread to give
            return True
        # Not by join(), which Ctrl-C may not reach as it falls asleep, and which takes a thread
        # for ended when it is interrupted (until Python 3.13; is_alive() does, too).
        if not self._left.wait(None if until is None else until - monotonic()):
            return False
        calmly(self.join, None if until is None else max(0.0, until - monotonic()))
        return not calmly(self.is_alive)


def describe(task: Task[Any]) -> str:
    """Name a task for messages: number and function."""
    return f"task {task.id} ({task._name})"


def describe_item(chunk: Chunk, offset: int) -> str:
    """Name an item of a map call for messages: position and function."""
    name = chunk.job.terms.name or function_name(chunk.job.fn)
    return f"item {chunk.start + offset} of map({name})"


def not_affected(unit: Any) -> str:
    """Say whom the death of a worker leaves alone, and what retries are to the task or items that it ran."""
    if unit.__class__ is Task:
        terms, attempts = unit._terms, unit._attempts
    else:
        terms, attempts = unit.job.terms, unit.attempts + 1
    return f"Other tasks are not affected; {terms.said_of_a_death(attempts)}."


def no_clock(name: str, error: RuntimeError) -> WorkerLost:
    """Say that a call was not begun, because there is no thread that would keep its time limit."""
    lost = WorkerLost(
        f"{name} was not begun: the thread that would keep its time limit could not be started: {error}. "
        "Free threads, and submit again."
    )
    lost.__cause__ = error
    return lost
