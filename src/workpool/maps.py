"""map and starmap as whoever checks types sees them: one signature a number of iterables.

An overload pairs each iterable with the parameter it feeds, so items that the
function does not take are refused before anything runs; past five iterables the
items go unchecked, as with the built-in ``map``. Where errors are yielded
instead of raised, a result may be one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, cast, overload

if TYPE_CHECKING:
    from collections.abc import Sized
    from os import PathLike

    from workpool.integrations.progress.snapshot import Progress
    from workpool.journal.settings import Journal
    from workpool.results import Results

__all__ = ["Maps"]

R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")


class MapHow(TypedDict, total=False):
    """How a map call goes about it; see :meth:`Pool.map`."""

    timeout: float | None
    chunksize: int | None
    buffersize: int | None
    ordered: bool
    progress: bool | Literal["tqdm", "rich", "plain"] | Callable[[Progress], object]
    journal: str | PathLike[str] | Journal | None


class MapTerms(MapHow, total=False):
    """The same, where errors are raised."""

    return_exceptions: Literal[False]


class Maps:
    """The two calls that go through items."""

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
        fn: Callable[[A, B, C, D, E], R],
        a: Iterable[A],
        b: Iterable[B],
        c: Iterable[C],
        d: Iterable[D],
        e: Iterable[E],
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
        f: Iterable[Any],
        /,
        *more: Iterable[Any],
        **how: Unpack[MapTerms],
    ) -> Results[R]: ...
    @overload
    def map(
        self,
        fn: Callable[[A], R],
        a: Iterable[A],
        /,
        *,
        return_exceptions: bool,
        **how: Unpack[MapHow],
    ) -> Results[R | BaseException]: ...
    @overload
    def map(
        self,
        fn: Callable[[A, B], R],
        a: Iterable[A],
        b: Iterable[B],
        /,
        *,
        return_exceptions: bool,
        **how: Unpack[MapHow],
    ) -> Results[R | BaseException]: ...
    @overload
    def map(
        self,
        fn: Callable[[A, B, C], R],
        a: Iterable[A],
        b: Iterable[B],
        c: Iterable[C],
        /,
        *,
        return_exceptions: bool,
        **how: Unpack[MapHow],
    ) -> Results[R | BaseException]: ...
    @overload
    def map(
        self,
        fn: Callable[[A, B, C, D], R],
        a: Iterable[A],
        b: Iterable[B],
        c: Iterable[C],
        d: Iterable[D],
        /,
        *,
        return_exceptions: bool,
        **how: Unpack[MapHow],
    ) -> Results[R | BaseException]: ...
    @overload
    def map(
        self,
        fn: Callable[[A, B, C, D, E], R],
        a: Iterable[A],
        b: Iterable[B],
        c: Iterable[C],
        d: Iterable[D],
        e: Iterable[E],
        /,
        *,
        return_exceptions: bool,
        **how: Unpack[MapHow],
    ) -> Results[R | BaseException]: ...
    @overload
    def map(
        self,
        fn: Callable[..., R],
        a: Iterable[Any],
        b: Iterable[Any],
        c: Iterable[Any],
        d: Iterable[Any],
        e: Iterable[Any],
        f: Iterable[Any],
        /,
        *more: Iterable[Any],
        return_exceptions: bool,
        **how: Unpack[MapHow],
    ) -> Results[R | BaseException]: ...
    def map(self, fn: Callable[..., Any], /, *iterables: Iterable[Any], **how: Any) -> Results[Any]:
        """Call ``fn`` with each item, on all workers, and iterate over the results.

        Inputs that know their length are queued whole at the call. Others are
        pulled as results are consumed, at most ``buffersize`` items ahead, so an
        endless generator works in constant memory; what is not yet pulled when
        :meth:`Pool.join`, ``shutdown(wait=True)`` or the end of the with block
        comes is then pulled and run, and after ``close()`` no more is. An error of the
        input is raised behind the results of the items before it.

        Parameters
        ----------
        fn : callable
            Called with one item of each iterable.
        *iterables : iterable
            The shortest one ends the map, as in :func:`map`. Without any there are no results.
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
        progress : bool, {"tqdm", "rich", "plain"} or callable
            Show how many items are finished and failed, how fast, and how long the
            rest will take. ``True``: by tqdm on a terminal and in a notebook, in
            lines now and then elsewhere, or where tqdm is not installed. A callable
            is given a :class:`Progress` now and then, by a thread of its own.
        journal : str, path-like, Journal or None
            A SQLite file that keeps each result before it is yielded. The same call
            later, after a crash or Ctrl-C, takes the results that are kept from
            there, in place, and runs the rest and what had failed.

        Returns
        -------
        Results
            An iterator and async iterator. An item's error is raised in its
            place and cancels the rest. Closing it early cancels what has not started.

        Raises
        ------
        ValueError
            ``chunksize`` or ``buffersize`` is less than 1.
        Unsupported
            The package that ``progress`` names is not installed.
        JournalError
            The journal cannot be opened or written; ``JournalInUse``: another call has
            it; ``JournalMismatch``: the function or the input is not what it was.
        PoolClosed
            The pool is shut down.
        """
        if len(iterables) == 1:
            return self._map(fn, iterables[0], star=False, total=_length(iterables[0]), **how)
        lengths = [length for length in map(_length, iterables) if length is not None]
        total = min(lengths, default=0) if len(lengths) == len(iterables) else None
        return self._map(fn, zip(*iterables, strict=False), star=True, total=total, **how)

    @overload
    def starmap(
        self, fn: Callable[..., R], iterable: Iterable[Iterable[Any]], /, **how: Unpack[MapTerms]
    ) -> Results[R]: ...
    @overload
    def starmap(
        self,
        fn: Callable[..., R],
        iterable: Iterable[Iterable[Any]],
        /,
        *,
        return_exceptions: bool,
        **how: Unpack[MapHow],
    ) -> Results[R | BaseException]: ...
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
        return self._map(fn, iterable, star=True, total=_length(iterable), **how)

    def _map(
        self,
        fn: Callable[..., R],
        items: Iterable[Any],
        *,
        star: bool,
        total: int | None,
        **how: Any,
    ) -> Results[R]:
        """Make the map call of what the calls above were given."""
        raise NotImplementedError


def _length(iterable: Iterable[Any]) -> int | None:
    """Give the number of items, where the input knows it."""
    try:
        return len(cast("Sized", iterable))
    except (TypeError, OverflowError):  # it has none, or says so when it is asked, as tqdm's
        return None
