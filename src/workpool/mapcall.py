"""How a map call begins: what it was given is checked, made a job of the scheduler, and first pulled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from workpool.ipc.calm import calmly
from workpool.results import Results
from workpool.scheduling.mapjob import MapJob
from workpool.scheduling.submitjob import SubmitJob
from workpool.task import function_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workpool.scheduling.mapjob import Meter
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
    ) -> Results[Any]:
        """Queue what is to be queued at the call, and give what yields the results."""
        _check_count("chunksize", chunksize)
        _check_count("buffersize", buffersize)
        if not callable(cast("object", self._fn)):
            message = f"map() calls a function with each item; got {self._fn!r}"
            raise TypeError(message)
        meter = None if progress is False else self._watched(progress)
        job: Any = None
        try:
            if chunksize == 1:
                job = self._one_by_one(buffersize, ordered=ordered, meter=meter)
            else:
                job = self._in_chunks(chunksize, buffersize, ordered=ordered, meter=meter)
            results = Results[Any](job, timeout=timeout, return_exceptions=return_exceptions)
            job.pull()
        except KeyboardInterrupt:
            with self._scheduler.lock:
                if job is not None:
                    job.close()  # nobody will have its results
            if meter is not None:
                meter.end()
            raise
        except BaseException:
            if meter is not None:
                meter.end()
            raise
        return results

    def _watched(self, progress: Any) -> Meter | None:
        from workpool.integrations.progress import watch

        name = self._terms.name or function_name(self._fn).rpartition(".<locals>.")[2]
        return watch(progress, name=name, total=self._total)

    def _one_by_one(self, buffersize: int | None, *, ordered: bool, meter: Meter | None) -> Any:
        lazy = self._total is None or buffersize is not None
        submit, fn = self._submit_of(), self._fn
        one: Callable[[Any], Task[Any]] = (
            (lambda item: submit(fn, *item)) if self._star else (lambda item: submit(fn, item))
        )
        window = (buffersize or 4 * self._scheduler.max_workers) if lazy else None
        job = SubmitJob(self._scheduler, one, iter(self._items), window=window, ordered=ordered)
        job.meter = meter
        return job

    def _in_chunks(
        self, chunksize: int | None, buffersize: int | None, *, ordered: bool, meter: Meter | None
    ) -> Any:
        scheduler, items = self._scheduler, self._items
        lazy = self._total is None or buffersize is not None
        job = MapJob(
            scheduler,
            self._fn,
            star=self._star,
            terms=self._terms,
            chunksize=chunksize,
            window=buffersize,
            ordered=ordered,
            epoch=scheduler.ledger.current,
        )
        job.meter = meter
        # Before the lock: to iterate the input is user code, which may use this very pool.
        source = iter(items)
        kept: Any = None
        if not lazy:
            kept = items if items.__class__ in (range, tuple) else list(source)
        # Counted and queued in one step, also for Ctrl-C.
        calmly(job.begin, source if lazy else None, kept)
        scheduler.hire()
        return job


def _check_count(name: str, value: int | None) -> None:
    if value is None:
        return
    if not isinstance(cast("object", value), int) or isinstance(value, bool):
        message = f"{name} is a whole number of items, or None; got {value!r}"
        raise TypeError(message)
    if value < 1:
        message = f"{name} must be >= 1; got {value}"
        raise ValueError(message)
