"""How a map call begins: what it was given is checked, made a job of the scheduler, and first pulled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from workpool.calm import calmly
from workpool.naming import function_name
from workpool.results import Results
from workpool.scheduling.mapjob import MapJob
from workpool.scheduling.submitjob import SubmitJob
from workpool.waits import checked_timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workpool.journal.scribe import Scribe
    from workpool.scheduling.guests import Meter
    from workpool.scheduling.scheduler import Scheduler
    from workpool.scheduling.terms import Terms
    from workpool.task import Task

__all__ = ["MapCall"]


class MapCall:
    """One call of map or starmap: its function, its input, and on what terms."""

    def __init__(
        self,
        scheduler: Scheduler,
        terms: Terms,
        fn: Callable[..., Any],
        items: Iterable[Any],
        *,
        star: bool,
        total: int | None,
        submit_of: Callable[[], Callable[..., Task[Any]]],
    ) -> None:
        self._scheduler = scheduler
        self._terms = terms
        self._fn = fn
        self._items = items
        self._star = star
        self._total = total  # items, where the input knows its length
        self.accepted = False  # by the scheduler: from then on its items may run
        self._submit_of = submit_of  # gives the pool's own submit, for chunksize=1

    def begin(
        self,
        *,
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        progress: Any = False,
        journal: Any = None,
        **unknown: Any,
    ) -> Results[Any]:
        """Queue what is to be queued at the call, and give what yields the results."""
        for name in unknown:
            raise _no_such_keyword(name)
        self._scheduler.refuse_midway("map")
        _check_switch("ordered", ordered)
        _check_switch("return_exceptions", return_exceptions)
        if isinstance(cast("object", timeout), bool):
            message = f"timeout is seconds as a number, or None; got {timeout!r}"
            raise TypeError(message)
        timeout = checked_timeout(timeout)
        _check_count("chunksize", chunksize)
        _check_count("buffersize", buffersize)
        if not callable(cast("object", self._fn)):
            message = f"map() calls a function with each item; got {self._fn!r}"
            raise TypeError(message)
        lazy = self._total is None or buffersize is not None
        if chunksize == 1:
            window = (buffersize or 4 * self._scheduler.max_workers) if lazy else None
            job: Any = self._one_by_one(window, ordered=ordered)
        else:
            job = self._in_chunks(chunksize, buffersize, ordered=ordered)
        if progress is not False:
            job.meter = self._watched(progress)
        scribe: Scribe | None = None
        try:
            if journal is not None:
                scribe = self._kept(journal)
                if not lazy:
                    # Compared whole, before anything runs; then pulled bit by bit, as it is restored.
                    self._items = kept = list(self._items)
                    scribe.compare_all(kept)
                    if chunksize != 1:
                        job.widen(len(kept))
                    lazy = True
            self._give(job, lazy=lazy, scribe=scribe)
            results = Results[Any](job, timeout=timeout, return_exceptions=return_exceptions)
            results.pull(by="call")
        except BaseException:
            with self._scheduler.lock:
                job.close()  # nobody will have its results
            if job.meter is not None:
                job.meter.end()
                job.meter.wait()
            if scribe is not None:
                scribe.abandon()
            raise
        return results

    def _give(self, job: Any, *, lazy: bool, scribe: Scribe | None) -> None:
        """Have the scheduler accept the job and its input."""
        # Before the lock: to iterate the input is user code, which may use this very pool.
        source = iter(self._items)
        kept: Any = None
        if not lazy and job.__class__ is MapJob:
            kept = self._items if self._items.__class__ in (range, tuple) else list(source)
        if scribe is not None:
            scribe.begin(job)
            job.scribe = scribe  # before the input: a join in another thread may pull it at once
        # Counted and queued in one step, also for Ctrl-C.
        calmly(job.begin, None if kept is not None else source, kept)
        self.accepted = True
        self._scheduler.hire()

    def _kept(self, journal: Any) -> Scribe:
        from workpool.journal.scribe import Scribe

        # What goes along with the function, such as the trace of this very run, is no part of it.
        fn: Callable[..., Any] = getattr(self._fn, "known_as", self._fn)
        return Scribe(journal, fn, star=self._star)

    def _watched(self, progress: Any) -> Meter | None:
        from workpool.integrations.progress import watch

        name = self._terms.name or function_name(self._fn).rpartition(".<locals>.")[2]
        return watch(progress, name=name, total=self._total)

    def _one_by_one(self, window: int | None, *, ordered: bool) -> SubmitJob:
        submit, fn = self._submit_of(), self._fn
        one: Callable[[Any], Task[Any]] = (
            (lambda item: submit(fn, *item)) if self._star else (lambda item: submit(fn, item))
        )
        return SubmitJob(self._scheduler, one, window=window, ordered=ordered)

    def _in_chunks(self, chunksize: int | None, window: int | None, *, ordered: bool) -> MapJob:
        return MapJob(
            self._scheduler,
            self._fn,
            star=self._star,
            terms=self._terms,
            chunksize=chunksize,
            window=window,
            ordered=ordered,
            epoch=self._scheduler.ledger.current,
        )


def _no_such_keyword(name: str) -> TypeError:
    """Say where a keyword belongs that map does not have."""
    import difflib

    from workpool.scheduling.terms import NAMES

    near = difflib.get_close_matches(name, MapCall.begin.__kwdefaults__ or (), n=1)
    if name in NAMES:
        way_out = f"It is a term, so: pool.options({name}=...).map(...)"
    elif near:
        way_out = f"Did you mean {near[0]!r}?"
    else:
        way_out = (
            f"An argument of the function goes along with it: functools.partial(fn, {name}=...)"
        )
    return TypeError(f"map() has no keyword {name!r}. {way_out}")


def _check_switch(name: str, value: object) -> None:
    if not isinstance(value, bool):
        message = f"{name} is True or False; got {value!r}"
        raise TypeError(message)


def _check_count(name: str, value: int | None) -> None:
    if value is None:
        return
    if not isinstance(cast("object", value), int) or isinstance(value, bool):
        message = f"{name} is a whole number of items, or None; got {value!r}"
        raise TypeError(message)
    if value < 1:
        message = f"{name} must be >= 1; got {value}"
        raise ValueError(message)
