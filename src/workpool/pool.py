"""The Pool: what users make, and what they call beside its tasks.

It holds no state of its own but settings, scheduler and backend, so a pool that is
let go can end itself while its tasks still run.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, TypeVarTuple, cast

from workpool import _compat
from workpool.calls import Calls, Options, later_submit
from workpool.entering import Entering
from workpool.errors import WouldDeadlock
from workpool.observing import Observing, recorder_for
from workpool.parts import load_parts
from workpool.scheduling import exit as at_exit
from workpool.sharing import Sharing

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

    from workpool.backends.base import Backend, BackendName, StartMethod
    from workpool.contexts import Asked
    from workpool.scheduling.scheduler import Scheduler
    from workpool.task import Task

__all__ = ["Options", "Pool"]

# An initializer's arguments: initargs has to fit them. One that needs none is named beside it, as mypy
# makes no variable of parameters that are optional. Not overloads: each wrong setting would be told by them.
Ts = TypeVarTuple("Ts")

_numbers = count()


# Calls.map is narrower than Executor.map on purpose: items that do not fit the function are refused.
class Pool(Calls, Sharing, Observing, Entering, Executor):  # type: ignore[misc]  # pyright: ignore[reportIncompatibleMethodOverride]
    """Workers that drain one shared queue; a :class:`concurrent.futures.Executor`.

    Parameters
    ----------
    max_workers : int or None
        How many workers at most; they start on demand, then stay. ``None``: for
        processes the CPUs this process may really use (affinity and cgroup quota),
        for threads the standard library's rule.
    backend : {"thread", "process", "interpreter", "dask", "ray", "inline"}
        Who runs the tasks: daemon threads, processes, the workers of a Dask cluster,
        actors of a Ray cluster, or the caller's own thread.
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
    time_limit, grace, retries, retry_on, backoff, priority, context, seed, resources : as in options
        Terms for all calls; see :meth:`options`.
    max_tasks_per_worker : int or None, tasks
        After so many a worker ends in order and is replaced. One that a thread runs inside of another, which
        waits for it, counts as well; the other is run to its end.
    start_method : {"forkserver", "spawn", "fork"} or None
        How processes start. ``None``: forkserver where there is one, else spawn.
        ``"fork"`` forks this very process, whatever threads it has.
    start_timeout : float or None, seconds
        A worker that is not ready by then is ended: ``InitializerFailed`` (not threads, inline).
    end_timeout : float or None, seconds
        One that was told to leave, and has not ended by then, is killed (processes, interpreters).
    name : str or None
        For messages, thread names and ``workpool.current().pool``.
    logs : bool
        Bring what tasks log to this process's handlers, from wherever they run, before
        their results. Log records get the attributes ``wp_pool``, ``wp_worker``,
        ``wp_task`` and ``wp_task_id``, which are ``"-"`` outside of tasks.
    capture : bool
        Keep what tasks print in :attr:`Task.stdout` and :attr:`Task.stderr`; lines of
        map items become log records of ``workpool.stdout`` and ``workpool.stderr``.
    blas_threads : int, "auto" or None, threads
        How many threads BLAS, OpenMP and their kind may use in each worker process:
        ``"auto"`` shares the usable cores among the workers, ``None`` leaves it to them.
        A variable such as ``OMP_NUM_THREADS`` that is set already has its way.
    record : bool or int, slices
        Remember when everything ran, for :meth:`timeline`: the latest 100,000 tasks
        and chunks of items (about 300 bytes each), or as many as the number says.
    address, client, exclusive : str, distributed.Client, bool
        The cluster of ``backend="dask"`` or ``"ray"`` (``address`` alone); and whether
        nobody else uses Dask's, so that its workers may be ended. Without one, a cluster
        on this machine that ends with the pool.

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
        initializer: Callable[[], object] | Callable[[*Ts], object] | None = None,
        initargs: tuple[*Ts] = (),  # type: ignore[assignment]  # pyright: ignore[reportArgumentType] - see Ts
        worker_context: Callable[[], AbstractContextManager[Any]] | None = None,
        queue_size: int = 0,
        time_limit: float | None = None,
        grace: float | None = None,
        retries: int = 0,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        backoff: float = 0.0,
        priority: int = 0,
        context: Asked = False,
        seed: int | None = None,
        resources: Mapping[str, float] | None = None,
        max_tasks_per_worker: int | None = None,
        start_method: StartMethod | None = None,
        start_timeout: float | None = 60.0,
        end_timeout: float | None = 60.0,
        name: str | None = None,
        logs: bool = False,
        capture: bool = False,
        blas_threads: int | Literal["auto"] | None = "auto",
        record: bool | int = False,
        address: str | None = None,
        client: Any = None,
        exclusive: bool | None = None,
    ) -> None:
        if _compat.in_worker:
            load_parts()
        from workpool.backends.base import capabilities_of
        from workpool.scheduling.scheduler import Scheduler
        from workpool.scheduling.terms import Terms, changed, seeds_of
        from workpool.settings import Settings

        self._settings = settings = Settings(
            max_workers=max_workers,
            backend=backend,
            initializer=initializer,
            initargs=cast("tuple[Any, ...]", initargs),
            worker_context=worker_context,
            queue_size=queue_size,
            max_tasks_per_worker=max_tasks_per_worker,
            start_method=start_method,
            start_timeout=start_timeout,
            end_timeout=end_timeout,
            name=name,
            logs=logs,
            capture=capture,
            blas_threads=blas_threads,
            record=record,
            address=address,
            client=client,
            exclusive=exclusive,
        )
        kind = settings.find_backend()
        terms = Terms(
            time_limit=time_limit,
            grace=grace,
            retries=retries,
            backoff=backoff,
            priority=priority,
            context=context,
            seeds=seeds_of(seed),
            resources=resources,
        )
        terms = changed(terms, retry_on=retry_on)
        settings.check_terms(terms, capabilities_of(kind, settings))
        self._terms = terms
        self._name = f"Pool-{next(_numbers)}" if settings.name is None else settings.name
        self._backend: Backend = kind(pool=self._name, setup=settings.setup, settings=settings)
        self._inline = kind.capabilities.name == "inline"
        self._backend_pack = self._backend.pack
        self._pack = self._pack_on(terms)
        self._ends_tasks = self._backend.capabilities.ends_tasks
        wanted = settings.max_workers or self._backend.default_workers
        self._max_workers = min(wanted, self._backend.capabilities.most_workers or wanted)
        self._recorder = recorder_for(settings.record)
        self._scheduler = scheduler = Scheduler(
            name=self._name,
            max_workers=self._max_workers,
            make_worker=self._backend.make_worker,
            queue_size=settings.queue_size,
            tally=self._recorder,
            borrows_callers=self._inline,
        )
        scheduler.on_end = partial(_ended, scheduler, self._backend)
        at_exit.remember(scheduler)
        # Let go without shutdown: what is queued runs, then the workers leave.
        weakref.finalize(self, scheduler.let_go).atexit = False

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
        grace: float | None = None,
        retries: int | None = None,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        backoff: float | None = None,
        priority: int | None = None,
        name: str | None = None,
        queue_timeout: float | None = None,
        context: Asked | None = None,
        seed: int | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> Options:
        """Give a view of this pool whose calls are on other terms.

        Parameters
        ----------
        time_limit : float, seconds
            A task that runs longer fails with ``TimeLimitExceeded``. The clock starts
            when the task starts in its worker. Process: the worker is ended and
            replaced. Thread: it is written off and replaced.
        grace : float, seconds
            Past its limit a task gets ``TimeLimitExceeded`` raised in it, and so long
            to tidy up before its worker is ended. Processes only.
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
        context : bool, or list of contextvars.ContextVar
            Which context variables tasks see as the caller had them: all (that can be
            pickled, with processes), or these. ``"opentelemetry"`` in the list, and ``True``,
            take its current span along.
        seed : int
            Each task has a seed of its own, made of this one and the task's place:
            ``workpool.current().seed`` and ``rng``; in processes also for ``random`` and numpy.
        resources : mapping of str to float
            What the task needs of its worker, such as ``{"GPU": 1}`` (Dask, Ray).

        Returns
        -------
        Options
            With ``submit``, ``map``, ``starmap`` and ``run``.

        Raises
        ------
        Unsupported
            The backend cannot keep a term; the message names one that can.
        """
        from workpool.scheduling.terms import changed, seeds_of

        terms = changed(
            self._terms,
            time_limit=time_limit,
            grace=grace,
            retries=retries,
            retry_on=retry_on,
            backoff=backoff,
            priority=priority,
            name=name,
            queue_timeout=queue_timeout,
            context=context,
            seeds=seeds_of(seed),
            resources=resources,
        )
        self._settings.check_terms(terms, self._backend.capabilities)
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
            The caller is a task of this very pool, a callback of one, or the input of a map call.

        References
        ----------
        The promise of :meth:`queue.Queue.join`, plus a timeout.
        """
        self._scheduler.join(timeout)

    # --------------------------------------------------------------------- ending

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more, and let the workers end when all is done.

        Parameters
        ----------
        wait : bool
            Return when every worker has ended.
        cancel_futures : bool
            Cancel what has not started; what runs sees ``workpool.current().cancelled``.

        Raises
        ------
        WouldDeadlock
            A task or callback of this very pool, or the input of a map call of it, asked to wait.

        References
        ----------
        The promise of :meth:`concurrent.futures.Executor.shutdown`.
        """
        self._scheduler.shut_down(wait=wait, cancel=cancel_futures)

    def close(self) -> None:
        """Accept nothing more and return at once; what was accepted still runs.

        A map call pulls no more of its input. What it had pulled runs, and its results are
        given; then they raise ``CancelledError``, which tells that there was more.
        """
        self.shutdown(wait=False)

    def kill(self) -> None:
        """End the workers now.

        What was running fails with ``WorkerLost``, what was queued is cancelled; no
        task is left pending. A thread cannot be ended: it is written off, and its
        result, should it come, is dropped.
        """
        self._scheduler.kill()
        if self._backend.capabilities.ends_tasks and not self._scheduler.busy_here():
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
        try:
            self.shutdown(wait=True)
        except KeyboardInterrupt:
            self.kill()
            raise
        except BaseException as error:
            if not isinstance(error, WouldDeadlock):  # else it was refused, and goes on
                self._scheduler.close()  # struck, maybe before it began: the workers leave
            raise

    def _submit_of(self) -> Callable[..., Task[Any]]:
        return later_submit(weakref.ref(self), Options(self, self._terms, keep=False))


def _ended(scheduler: Scheduler, backend: Backend) -> None:
    """Give back what a pool had, when its last worker has left; holds no Pool."""
    at_exit.forget(scheduler)
    backend.close()
