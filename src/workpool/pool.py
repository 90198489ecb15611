"""The Pool, and the view of it that ``options`` gives: what users call.

A Pool checks what it is given, makes tasks and map calls of it, and passes them
to its scheduler. It holds no state of its own but settings, scheduler and
backend, so a pool that is let go can end itself while its tasks still run.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sized
from concurrent.futures import Executor
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, TypeVar, cast, overload

import attrs
from typing_extensions import ParamSpec, Unpack

from workpool.results import Results
from workpool.scheduling import exit as at_exit
from workpool.scheduling.mapjob import MapJob
from workpool.scheduling.scheduler import Scheduler
from workpool.scheduling.submitjob import SubmitJob
from workpool.scheduling.terms import Terms
from workpool.settings import Settings
from workpool.task import Task

if TYPE_CHECKING:
    from types import TracebackType

    from workpool.backends.base import Backend, BackendName
    from workpool.observe.stats import Stats
    from workpool.queues import Queue
    from workpool.shared import Counter, Event, Lock, Semaphore, Shared

__all__ = ["Options", "Pool"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")

_numbers = count()


class MapHow(TypedDict, total=False):
    """How a map call goes about it; see :meth:`Pool.map`."""

    timeout: float | None
    chunksize: int | None
    buffersize: int | None
    ordered: bool


class MapTerms(MapHow, total=False):
    """The same, where errors are raised."""

    return_exceptions: Literal[False]


class Calls:
    """The calls that a pool and its ``options`` view have in common."""

    _scheduler: Scheduler
    _terms: Terms
    _pack: Callable[[Task[Any]], None] | None  # what a backend does to a task at submit

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """Put one task on the shared queue.

        Parameters
        ----------
        fn : callable
            What to call. With processes it travels by pickle, or by cloudpickle
            where pickle cannot (lambdas, closures, functions of a notebook).
        *args, **kwargs
            Its arguments.

        Returns
        -------
        Task
            A :class:`concurrent.futures.Future` of what ``fn`` returns.

        Raises
        ------
        PoolClosed
            The pool is shut down (also a ``RuntimeError``).
        queue.Full
            The queue stayed full for ``queue_timeout`` seconds.
        """
        task: Task[R] = Task()
        task._call = (fn, args, kwargs)
        task._terms = terms = self._terms
        if self._pack is not None:
            self._pack(task)
        self._scheduler.submit(task, timeout=terms.queue_timeout)
        return task

    @overload
    def map(
        self,
        fn: Callable[[A], R],
        a: Iterable[A],
        /,
        *,
        return_exceptions: Literal[True],
        **how: Unpack[MapHow],
    ) -> Results[R | BaseException]: ...
    @overload
    def map(
        self,
        fn: Callable[..., R],
        a: Iterable[Any],
        b: Iterable[Any],
        /,
        *iterables: Iterable[Any],
        return_exceptions: Literal[True],
        **how: Unpack[MapHow],
    ) -> Results[R | BaseException]: ...
    @overload
    def map(
        self, fn: Callable[[A], R], a: Iterable[A], /, **how: Unpack[MapTerms]
    ) -> Results[R]: ...
    @overload
    def map(
        self, fn: Callable[[A, B], R], a: Iterable[A], b: Iterable[B], /, **how: Unpack[MapTerms]
    ) -> Results[R]: ...
    @overload
    def map(
        self,
        fn: Callable[[A, B, C], R],
        a: Iterable[A],
        b: Iterable[B],
        c: Iterable[C],
        /,
        **how: Unpack[MapTerms],
    ) -> Results[R]: ...
    @overload
    def map(
        self,
        fn: Callable[[A, B, C, D], R],
        a: Iterable[A],
        b: Iterable[B],
        c: Iterable[C],
        d: Iterable[D],
        /,
        **how: Unpack[MapTerms],
    ) -> Results[R]: ...
    @overload
    def map(
        self,
        fn: Callable[..., R],
        a: Iterable[Any],
        b: Iterable[Any],
        c: Iterable[Any],
        d: Iterable[Any],
        e: Iterable[Any],
        /,
        *iterables: Iterable[Any],
        **how: Unpack[MapTerms],
    ) -> Results[R]: ...
    def map(self, fn: Callable[..., Any], /, *iterables: Iterable[Any], **how: Any) -> Results[Any]:
        """Call ``fn`` with each item, on all workers, and iterate over the results.

        Inputs that know their length are queued whole at the call. Others are
        pulled as results are consumed, at most ``buffersize`` items ahead, so an
        endless generator works in constant memory; what is not yet pulled when
        :meth:`Pool.join`, ``shutdown(wait=True)`` or the end of the with block
        comes is then pulled and run.

        Parameters
        ----------
        fn : callable
            Called with one item of each iterable.
        *iterables : iterable
            The shortest one ends the map, as in :func:`map`.
        timeout : float or None, seconds
            A result that is not there so long after the call to ``map`` raises
            ``TimeoutError`` and cancels the rest.
        chunksize : int or None, items
            How many items travel together; ``None`` sizes chunks from measured
            durations, ``1`` goes item by item through :meth:`submit`.
        buffersize : int or None, items
            How far to pull ahead of the consumer, also from sized inputs;
            ``None`` is a bound made from measured durations, 16384 at most.
        ordered : bool
            Yield in the order of the input; ``False`` yields as completed.
        return_exceptions : bool
            Yield an item's error instead of raising it.

        Returns
        -------
        Results
            An iterator and async iterator. An item's error is raised in its
            place and cancels the rest. Closing it early cancels what has not started.

        Raises
        ------
        ValueError
            ``chunksize`` or ``buffersize`` is less than 1.
        PoolClosed
            The pool is shut down.
        """
        if not iterables:
            message = "map() needs at least one iterable of items"
            raise TypeError(message)
        sized = all(isinstance(iterable, Sized) for iterable in iterables)
        if len(iterables) == 1:
            return self._map(fn, iterables[0], star=False, sized=sized, **how)
        return self._map(fn, zip(*iterables, strict=False), star=True, sized=sized, **how)

    @overload
    def starmap(
        self,
        fn: Callable[..., R],
        iterable: Iterable[Iterable[Any]],
        /,
        *,
        return_exceptions: Literal[True],
        **how: Unpack[MapHow],
    ) -> Results[R | BaseException]: ...
    @overload
    def starmap(
        self, fn: Callable[..., R], iterable: Iterable[Iterable[Any]], /, **how: Unpack[MapTerms]
    ) -> Results[R]: ...
    def starmap(
        self, fn: Callable[..., Any], iterable: Iterable[Iterable[Any]], /, **how: Any
    ) -> Results[Any]:
        """Call ``fn(*item)`` for each item; otherwise as :meth:`map`.

        Parameters
        ----------
        fn : callable
            Called with the members of each item as its arguments.
        iterable : iterable of iterables
            The arguments of each call.
        **how
            As in :meth:`map`.

        Returns
        -------
        Results
            As in :meth:`map`.
        """
        return self._map(fn, iterable, star=True, sized=isinstance(iterable, Sized), **how)

    async def run(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Submit and await; no thread is blocked, cancelling the await cancels the task.

        Parameters
        ----------
        fn : callable
            What to call.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        object
            What ``fn`` returned.
        """
        if self._scheduler.queue_size:
            await self._scheduler.room_for_one(self._terms.queue_timeout)
        return await self.submit(fn, *args, **kwargs)

    # -------------------------------------------------------------------- below

    def _submit_of(self) -> Callable[..., Task[Any]]:
        """Give a ``submit`` for later that keeps no pool alive."""
        raise AssertionError

    def _map(
        self,
        fn: Callable[..., R],
        items: Iterable[Any],
        *,
        star: bool,
        sized: bool,
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> Results[R]:
        _check_count("chunksize", chunksize)
        _check_count("buffersize", buffersize)
        if not callable(cast("object", fn)):
            message = f"map() calls a function with each item; got {fn!r}"
            raise TypeError(message)
        scheduler = self._scheduler
        lazy = not sized or buffersize is not None
        job: Any
        if chunksize == 1:
            submit = self._submit_of()
            one: Callable[[Any], Task[Any]] = (
                (lambda item: submit(fn, *item)) if star else (lambda item: submit(fn, item))
            )
            window = (buffersize or 4 * scheduler.max_workers) if lazy else None
            job = SubmitJob(scheduler, one, iter(items), window=window, ordered=ordered)
        else:
            job = MapJob(
                scheduler,
                fn,
                star=star,
                terms=self._terms,
                chunksize=chunksize,
                window=buffersize,
                ordered=ordered,
                epoch=scheduler.ledger.current,
            )
            # Before the lock: to iterate the input is user code, which may use this very pool.
            source = iter(items)
            kept: Any = None
            if not lazy:
                kept = items if items.__class__ in (range, tuple) else list(source)
            with scheduler.lock:
                job.epoch = scheduler.ledger.current
                if lazy:
                    job.give_source(source)
                else:
                    job.give_all(kept)
            scheduler.hire()
        results: Results[R] = Results(job, timeout=timeout, return_exceptions=return_exceptions)
        job.pull()
        return results


# Calls.map is narrower than Executor.map on purpose: items that do not fit the function are refused.
class Pool(Calls, Executor):  # type: ignore[misc]  # pyright: ignore[reportIncompatibleMethodOverride]
    """Workers that drain one shared queue; a :class:`concurrent.futures.Executor`.

    Parameters
    ----------
    max_workers : int or None
        How many workers at most; they start on demand, then stay. ``None``: for
        processes the CPUs this process may really use (affinity and cgroup quota),
        for threads the standard library's rule.
    backend : {"thread", "process", "inline"}
        Who runs the tasks: daemon threads, processes, or the caller's own thread.
    initializer : callable or None
        Called with ``initargs`` in each worker before its first task.
    initargs : tuple
        Its arguments; may hold what only travels by inheritance, such as a
        ``multiprocessing`` lock.
    worker_context : callable or None
        Gives a context manager, entered once in each worker; what it yields is
        ``workpool.current().resource``. It is left when the worker ends in order.
    queue_size : int, tasks
        With more than that many tasks queued, ``submit`` waits; 0 is no bound.
    time_limit, retries, retry_on, backoff, priority : as in options
        Terms for all calls; see :meth:`options`.
    max_tasks_per_worker : int or None, tasks
        A worker that has run so many ends in order and is replaced.
    start_method : {"forkserver", "spawn", "fork"} or None
        How processes start. ``None``: forkserver where there is one, else spawn.
        ``"fork"`` forks this very process, whatever threads it has.
    start_timeout : float or None, seconds
        A worker process that is not ready by then is ended: ``InitializerFailed``.
    name : str or None
        For messages, thread names and ``workpool.current().pool``.

    Raises
    ------
    ValueError, TypeError
        A setting is wrong; the message names it.
    UnknownBackend
        There is no such backend; the message gives the nearest.
    Unsupported
        The backend cannot keep a term; the message names one that can.

    Examples
    --------
    >>> from workpool import Pool
    >>> with Pool(4) as pool:
    ...     list(pool.map(abs, [-1, 2, -3]))
    [1, 2, 3]
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        backend: BackendName = "thread",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        worker_context: Callable[[], Any] | None = None,
        queue_size: int = 0,
        time_limit: float | None = None,
        retries: int = 0,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        backoff: float = 0.0,
        priority: int = 0,
        max_tasks_per_worker: int | None = None,
        start_method: str | None = None,
        start_timeout: float | None = 60.0,
        name: str | None = None,
    ) -> None:
        self._settings = settings = Settings(
            max_workers=max_workers,
            backend=backend,
            initializer=initializer,
            initargs=initargs,
            worker_context=worker_context,
            queue_size=queue_size,
            max_tasks_per_worker=max_tasks_per_worker,
            start_method=start_method,
            start_timeout=start_timeout,
            name=name,
        )
        kind = settings.find_backend()
        terms = Terms(time_limit=time_limit, retries=retries, backoff=backoff, priority=priority)
        if retry_on is not None:
            terms = attrs.evolve(terms, retry_on=retry_on)
        settings.check_terms(terms, kind)
        self._terms = terms
        self._name = name if name is not None else f"Pool-{next(_numbers)}"
        self._backend: Backend = kind(pool=self._name, setup=settings.setup, settings=settings)
        self._pack = self._backend.pack
        wanted = max_workers if max_workers is not None else self._backend.default_workers
        self._max_workers = min(wanted, kind.capabilities.most_workers or wanted)
        self._scheduler = scheduler = Scheduler(
            name=self._name,
            max_workers=self._max_workers,
            make_worker=self._backend.make_worker,
            queue_size=queue_size,
        )
        scheduler.on_end = _Ending(scheduler, self._backend)
        at_exit.remember(scheduler)
        # Let go without shutdown: what is queued runs, then the workers leave.
        weakref.finalize(self, scheduler.close).atexit = False

    @property
    def name(self) -> str:
        """The pool's name, as given or ``"Pool-0"`` and so on."""
        return self._name

    @property
    def backend(self) -> BackendName:
        """Who runs the tasks."""
        return cast("BackendName", self._settings.backend)

    @property
    def max_workers(self) -> int:
        """How many workers there are at most."""
        return self._max_workers

    # ------------------------------------------------------------------- the view

    def options(
        self,
        *,
        time_limit: float | None = None,
        retries: int | None = None,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        backoff: float | None = None,
        priority: int | None = None,
        name: str | None = None,
        queue_timeout: float | None = None,
    ) -> Options:
        """Give a view of this pool whose calls are on other terms.

        Parameters
        ----------
        time_limit : float, seconds
            A task that runs longer fails with ``TimeLimitExceeded``. The clock starts
            when the task starts in its worker. Process: the worker is ended and
            replaced. Thread: it is written off and replaced.
        retries : int
            How often a task runs again after a failure of ``retry_on``.
        retry_on : exception type or tuple of them
            Which failures; by default only a lost worker.
        backoff : float, seconds
            Pause before the first retry, doubled before each further one.
        priority : int
            Smaller runs sooner, as in :class:`queue.PriorityQueue`; 0 by default.
        name : str
            Name of the tasks, for messages.
        queue_timeout : float, seconds
            How long ``submit`` waits for room in a full queue before ``queue.Full``.

        Returns
        -------
        Options
            With ``submit``, ``map``, ``starmap`` and ``run``.

        Raises
        ------
        Unsupported
            The backend cannot keep a term; the message names one that can.
        """
        given: dict[str, Any] = {
            "time_limit": time_limit,
            "retries": retries,
            "retry_on": retry_on,
            "backoff": backoff,
            "priority": priority,
            "name": name,
            "queue_timeout": queue_timeout,
        }
        terms = attrs.evolve(
            self._terms, **{term: value for term, value in given.items() if value is not None}
        )
        self._settings.check_terms(terms, type(self._backend))
        return Options(self, terms)

    # -------------------------------------------------------------------- waiting

    def join(self, timeout: float | None = None) -> None:
        """Wait until every task submitted so far is done, whatever its outcome.

        Parameters
        ----------
        timeout : float or None, seconds
            Longest wait. ``None`` waits for ever; ``0`` only looks.

        Raises
        ------
        JoinTimeout
            Tasks were left; ``error.unfinished`` says how many and ``error.running``
            names those that run. The pool stays open.
        WouldDeadlock
            The caller is a task, or a callback of one, of this very pool.

        References
        ----------
        The promise of :meth:`queue.Queue.join`, plus a timeout.
        """
        self._scheduler.join(timeout)

    @property
    def unfinished(self) -> int:
        """How many tasks are submitted and not done; an item of a map call counts as one."""
        with self._scheduler.lock:
            return self._scheduler.ledger.unfinished

    # --------------------------------------------------------------------- ending

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more, and let the workers end when all is done.

        Parameters
        ----------
        wait : bool
            Return when every worker has ended.
        cancel_futures : bool
            Cancel what has not started.

        Raises
        ------
        WouldDeadlock
            A task or callback of this very pool asked to wait.

        References
        ----------
        The promise of :meth:`concurrent.futures.Executor.shutdown`.
        """
        scheduler = self._scheduler
        if wait:
            scheduler.refuse_inside("shutdown")
            if not cancel_futures and scheduler.ledger.open_jobs:
                scheduler.join(None)
        scheduler.close()
        if cancel_futures:
            scheduler.cancel_queued()
        if wait:
            scheduler.drain()

    def close(self) -> None:
        """Accept nothing more and return at once; what was accepted still runs."""
        self.shutdown(wait=False)

    def kill(self) -> None:
        """End the workers now.

        What was running fails with ``WorkerLost``, what was queued is cancelled; no
        task is left pending. A thread cannot be ended: it is written off, and its
        result, should it come, is dropped.
        """
        self._scheduler.kill()
        if self._backend.capabilities.ends_tasks:
            self._scheduler.drain()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            self.kill()  # Ctrl-C must not wait for what it was meant to stop
            return
        if exc_type is not None:
            self._scheduler.close()  # what was not pulled is not wanted any more
        self.shutdown(wait=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        import asyncio

        if exc_type is not None:
            self._scheduler.close()
        await asyncio.to_thread(self.shutdown)

    # --------------------------------------------------------------- shared state

    def counter(self, initial: int = 0) -> Counter:
        """Make a counter that all tasks of this pool can add to."""
        from workpool.shared import Counter

        return Counter(initial, scope=self._backend.capabilities.scope)

    def shared(self, value: T) -> Shared[T]:
        """Make a value that all tasks of this pool can change, one at a time."""
        from workpool.shared import Shared

        return Shared(value, scope=self._backend.capabilities.scope)

    def lock(self) -> Lock:
        """Make a lock for the tasks of this pool."""
        from workpool.shared import Lock

        return Lock(scope=self._backend.capabilities.scope)

    def semaphore(self, value: int = 1) -> Semaphore:
        """Make a semaphore for the tasks of this pool."""
        from workpool.shared import Semaphore

        return Semaphore(value, scope=self._backend.capabilities.scope)

    def event(self) -> Event:
        """Make an event for the tasks of this pool."""
        from workpool.shared import Event

        return Event(scope=self._backend.capabilities.scope)

    def queue(self, maxsize: int = 0) -> Queue[Any]:
        """Make a queue for the tasks of this pool."""
        from workpool.queues import Queue

        return Queue(maxsize, scope=self._backend.capabilities.scope)

    # -------------------------------------------------------------------- looking

    def stats(self) -> Stats:
        """Tell what has happened so far.

        Returns
        -------
        Stats
            A frozen snapshot: counts, busy times, percentiles of waiting and running.
        """
        from workpool.observe.stats import snapshot

        return snapshot(self._scheduler)

    def __repr__(self) -> str:
        """Show the sizes, limits and methods in force."""
        settings, terms = self._settings, self._terms
        shown = [f"{self._max_workers}", f"backend={settings.backend!r}", f"name={self._name!r}"]
        if settings.queue_size:
            shown.append(f"queue_size={settings.queue_size}")
        shown += [
            f"{field}={getattr(terms, field)}"
            for field in ("time_limit", "retries")
            if getattr(terms, field)
        ]
        if settings.max_tasks_per_worker:
            shown.append(f"max_tasks_per_worker={settings.max_tasks_per_worker}")
        extra = self._backend.describe()
        if extra:
            shown.append(extra)
        state = "closed" if self._scheduler.closed else f"{len(self._scheduler.workers)} workers"
        return f"<Pool({', '.join(shown)}) {state}, {self.unfinished} unfinished>"

    def _submit_of(self) -> Callable[..., Task[Any]]:
        return _later_submit(weakref.ref(self), Options(self, self._terms, keep=False))


class Options(Calls):
    """A pool on other terms; made by :meth:`Pool.options`."""

    def __init__(self, pool: Pool, terms: Terms, *, keep: bool = True) -> None:
        self._pool = pool if keep else None  # a view keeps its pool open
        self._scheduler = pool._scheduler
        self._pack = pool._pack
        self._terms = terms

    def __repr__(self) -> str:
        return f"<Options of {self._scheduler.name}: {self._terms}>"

    def _submit_of(self) -> Callable[..., Task[Any]]:
        return self.submit


class _Ending:
    """Gives back what a pool had, when its last worker has left; holds no Pool."""

    def __init__(self, scheduler: Scheduler, backend: Backend) -> None:
        self._scheduler = scheduler
        self._backend = backend

    def __call__(self) -> None:
        at_exit.forget(self._scheduler)
        self._backend.close()


def _later_submit(pool: weakref.ref[Pool], rest: Options) -> Callable[..., Task[Any]]:
    """Submit through the pool while it lives, on its terms when it was let go."""

    def submit(fn: Callable[..., Any], /, *args: Any) -> Task[Any]:
        alive = pool()
        return (alive if alive is not None else rest).submit(fn, *args)

    return submit


def _check_count(name: str, value: int | None) -> None:
    if value is None:
        return
    if not isinstance(cast("object", value), int) or isinstance(value, bool):
        message = f"{name} is a whole number of items, or None; got {value!r}"
        raise TypeError(message)
    if value < 1:
        message = f"{name} must be >= 1; got {value}"
        raise ValueError(message)
