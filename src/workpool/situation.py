"""What a task can learn about itself: its pool, worker, attempt and resource.

Each thread that runs tasks has one *situation*, which its worker keeps up to
date. A task that asks gets a snapshot of it.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from random import Random

__all__ = ["Current", "Mark", "Setup", "Situation", "current", "here", "workers_here"]


class Asked(Protocol):
    """Something whose end can be asked for."""

    @property
    def asked(self) -> bool:
        """Whether it is."""
        ...


class Mark:
    """Whether the end of one call is asked for: made when the call wants to know, set by whoever asks for it.

    Nothing is done to it when the call ends: from then on nobody finds it, and it stays as it is. So it may
    be kept and looked at by other threads; it knows nothing of the call but a number that tells it
    from those before and after.

    Guarantee
    - No asking is lost. The call makes its mark known and then looks whether it is asked already; who asks
      notes that and then looks for a mark. Each is a write to an object and then a look at another, in
      that order also on Pythons without a GIL: there a write to an attribute takes and leaves a lock.
    """

    __slots__ = ("asked", "of")

    def __init__(self, of: int = -1) -> None:
        self.of = of
        self.asked = False


class Situation:
    """Where this thread stands; written by its worker, read by :func:`current`."""

    __slots__ = (
        "attempt",
        "luck",
        "mark",
        "pool",
        "resource",
        "task_id",
        "task_name",
        "worker",
    )

    def __init__(self, pool: str, worker: int) -> None:
        self.pool = pool
        self.worker = worker
        self.resource: Any = None
        self.luck: Any = None  # of a task with a seed
        # What runs now: numbers and names are asked for only when a task asks.
        self.task_id: Callable[[], int] = _none_runs
        self.task_name: Callable[[], str] = str
        self.attempt: Callable[[], int] = int
        self.mark: Callable[[], Asked] = Mark


def _none_runs() -> int:
    return -1


class _Here(threading.local):
    situation: Situation | None = None
    worker: Any = None  # the scheduling worker whose thread this is
    # Those that had it before, and have it again afterwards: a task of theirs has made the call that
    # this worker runs in. The last one first.
    below: tuple[Any, ...] = ()
    # The map calls whose input this thread is pulling.
    pulls_for: tuple[Any, ...] = ()
    # The schedulers of tasks whose callbacks are run, one inside another, and which are not counted yet.
    calls_back: tuple[Any, ...] = ()


here = _Here()


def workers_here() -> tuple[Any, ...]:
    """List the workers whose thread this is, one inside another; the last one first."""
    worker = here.worker
    return () if worker is None else (worker, *here.below)


class Current:
    """A snapshot of the running task's surroundings.

    Attributes
    ----------
    pool : str
        Name of the pool.
    worker : int
        Index of the worker, 0 to ``max_workers - 1``; a replacement keeps it.
    task_id : int
        The task's ``id``; in a map call, the position of the item.
    task_name : str
        The task's name.
    attempt : int
        1 at the first start, 2 at the first retry, and so on.
    resource : object
        What ``worker_context`` yielded in this worker, else ``None``.
    """

    # By hand: a worker process needs nothing else of attrs, and is ready sooner without it.
    __slots__ = (
        "_luck",
        "_mark",
        "attempt",
        "pool",
        "resource",
        "task_id",
        "task_name",
        "worker",
    )

    def __init__(self, situation: Situation) -> None:
        self.pool = situation.pool
        self.worker = situation.worker
        self.task_id = situation.task_id()
        self.task_name = situation.task_name()
        self.attempt = situation.attempt()
        self.resource = situation.resource
        self._mark = situation.mark()
        self._luck = situation.luck

    def __repr__(self) -> str:
        return (
            f"Current(pool={self.pool!r}, worker={self.worker}, task_id={self.task_id}, "
            f"task_name={self.task_name!r}, attempt={self.attempt})"
        )

    @property
    def cancelled(self) -> bool:
        """Whether somebody has asked for this task's end; long tasks look at it now and then.

        Other threads may ask as well. What happens when the task is over does not change it.
        """
        return self._mark.asked

    @property
    def seed(self) -> int | None:
        """The task's own seed, 128 bits, made of the pool's seed and the task's place; else ``None``."""
        return None if self._luck is None else int(self._luck.seed)

    @property
    def rng(self) -> Random:
        """The task's own generator of random numbers, made of its seed; RuntimeError without one."""
        if self._luck is None:
            message = (
                "this task has no seed: give the pool one, Pool(seed=...) or options(seed=...)"
            )
            raise RuntimeError(message)
        rng: Random = self._luck.rng
        return rng


def current() -> Current:
    """Tell the running task about itself.

    Returns
    -------
    Current
        Pool, worker, task, attempt and resource.

    Raises
    ------
    RuntimeError
        The caller is not a task of a pool.
    """
    situation = here.situation
    if situation is None:
        message = "workpool.current() was called outside of a task; it tells a task about itself"
        raise RuntimeError(message)
    return Current(situation)


class Setup:
    """What each worker does before its first task and after its last."""

    __slots__ = ("initargs", "initializer", "worker_context")

    def __init__(
        self,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        worker_context: Callable[[], Any] | None = None,
    ) -> None:
        self.initializer = initializer
        self.initargs = initargs
        self.worker_context = worker_context

    @property
    def does_something(self) -> bool:
        """Whether there is anything for a worker to do first."""
        return self.initializer is not None or self.worker_context is not None

    @contextmanager
    def entered(self, situation: Situation) -> Generator[None]:
        """Run the initializer, hold the worker context, and leave it in order."""
        here.situation = situation
        try:
            if self.initializer is not None:
                self.initializer(*self.initargs)
            if self.worker_context is None:
                yield
            else:
                with self.worker_context() as resource:
                    situation.resource = resource
                    try:
                        yield
                    finally:
                        situation.resource = None
        finally:
            here.situation = None
