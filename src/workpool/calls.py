"""The calls that a pool and its ``options`` view have in common: submit, map, starmap, run.

They make tasks and map calls of what they are given, and pass them to the
scheduler on the terms of whoever is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, cast

from workpool.errors import NotPicklable
from workpool.group import Grouping
from workpool.maps import Maps
from workpool.task import Task

if TYPE_CHECKING:
    import weakref

    from workpool.results import Results
    from workpool.scheduling.scheduler import Scheduler
    from workpool.scheduling.terms import Terms

__all__ = ["Calls", "Options", "later_submit"]

P = ParamSpec("P")
R = TypeVar("R")

# One for all calls that have none: a call is given one of its own while it is made.
_NO_KWARGS: dict[str, Any] = {}


class Calls(Maps, Grouping):
    """The calls that a pool and its ``options`` view have in common."""

    _scheduler: Scheduler
    _terms: Terms
    _pack: Callable[[Task[Any]], None] | None  # what is done to a task at submit
    _backend_pack: Callable[[Task[Any]], None] | None  # the backend's part of that
    _inline: bool  # tasks run in the thread of their caller

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
        TypeError
            ``fn`` cannot be called.
        PoolClosed
            The pool is shut down (also a ``RuntimeError``).
        queue.Full
            The queue stayed full for ``queue_timeout`` seconds.
        """
        if not callable(fn):
            raise _not_callable(fn, "submit")
        task: Task[R] = Task()
        task._call = (fn, args, kwargs or _NO_KWARGS)
        task._terms = terms = self._terms
        if self._pack is not None:
            try:
                self._pack(task)
            except ImportError:
                # By a finalizer at the very end of the program: nothing can be loaded any more.
                self._scheduler.refuse_if_closed()
                raise
        self._scheduler.submit(task, timeout=terms.queue_timeout)
        try:
            return task
        finally:
            del task  # a task run inline has failed on top of this frame: its traceback leads here

    async def run(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Submit and await, in asyncio or trio; no thread is blocked, cancelling the await cancels the task.

        With a full ``queue_size`` it waits for room, without blocking the loop.

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

        Raises
        ------
        TypeError
            ``fn`` cannot be called.
        PoolClosed
            The pool is shut down (also a ``RuntimeError``).
        queue.Full
            The queue stayed full for ``queue_timeout`` seconds.
        """
        if not callable(fn):
            raise _not_callable(fn, "run")
        task: Task[R] = Task()
        task._call = (fn, args, kwargs)
        task._terms = self._terms
        if self._pack is not None:
            self._pack(task)
        scheduler = self._scheduler
        if scheduler.queue_size:
            await scheduler.submit_when_room(task, self._terms.queue_timeout)
        else:
            scheduler.submit(task)
        try:
            return await task
        finally:
            del task  # no cycle task, error, traceback, this frame

    def __reduce__(self) -> NoReturn:
        message = (
            f"{self._scheduler.name} cannot leave the process that has its workers. Make a pool in the task, which "
            "may have pools of its own, or submit from outside what the task would submit."
        )
        raise NotPicklable(message, part="argument")

    # -------------------------------------------------------------------- below

    def _pack_on(self, terms: Terms) -> Callable[[Task[Any]], None] | None:
        """Say what is done to a task at its submit on these terms."""
        if not terms.carries:
            return self._backend_pack
        from workpool.carrying import packer

        return packer(terms, self._backend_pack, inline=self._inline)

    def _submit_of(self) -> Callable[..., Task[Any]]:
        """Give a ``submit`` for later that keeps no pool alive."""
        raise AssertionError

    def _map(
        self,
        fn: Callable[..., R],
        items: Iterable[Any],
        *,
        star: bool,
        total: int | None,
        **how: Any,
    ) -> Results[R]:
        from workpool.mapcall import MapCall  # loaded with the pool, but in a worker that has none

        terms = self._terms
        numbered: str | None = None
        if terms.carries and callable(cast("object", fn)):
            from workpool.carrying import wrap_map

            wrapped, items, star = wrap_map(terms, fn, items, star=star, inline=self._inline)
            fn, numbered = wrapped, wrapped.call
        call = MapCall(
            self._scheduler,
            terms,
            fn,
            items,
            star=star,
            total=total,
            submit_of=self._submit_of,
        )
        try:
            return call.begin(**how)
        except BaseException:
            if terms.seeds is not None and numbered is not None and not call.accepted:
                terms.seeds.give_back(numbered)
            raise


class Options(Calls):
    """A pool on other terms; made by ``Pool.options``."""

    def __init__(self, pool: Calls, terms: Terms, *, keep: bool = True) -> None:
        self._pool = pool if keep else None  # a view keeps its pool open
        self._scheduler = pool._scheduler
        self._inline = pool._inline
        self._backend_pack = pool._backend_pack
        self._pack = pool._pack_on(terms)
        self._ends_tasks = pool._ends_tasks
        self._terms = terms

    def __repr__(self) -> str:
        return (
            f"<Options of {self._scheduler.name}: {', '.join(self._terms.shown()) or 'no terms'}>"
        )

    def _submit_of(self) -> Callable[..., Task[Any]]:
        return Options(self, self._terms, keep=False).submit


def _not_callable(fn: object, call: str) -> TypeError:
    message = f"{call}() takes a function and its arguments, as in {call}(print, 1); got {fn!r}, which cannot be called"
    if fn is None:
        message += ". Was the function called already, and returned None?"
    return TypeError(message)


def later_submit(pool: weakref.ref[Calls], rest: Calls) -> Callable[..., Task[Any]]:
    """Submit through the pool while it lives, on its terms when it was let go."""

    def submit(fn: Callable[..., Any], /, *args: Any) -> Task[Any]:
        alive = pool()
        return (alive if alive is not None else rest).submit(fn, *args)

    return submit
