"""What map returns: an iterator, and an async iterator, over results as they come.

Input is pulled here, in the thread that consumes. A yielded result is no longer
held by anybody but the consumer.
"""

from __future__ import annotations

import sys
from concurrent.futures import CancelledError
from itertools import chain, repeat, starmap
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar, cast

from workpool.calm import calmly
from workpool.errors import NotPicklable
from workpool.midway import held_here
from workpool.waits import make_sleeper, sleep_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from workpool.scheduling.guests import Meter, Scribe
    from workpool.scheduling.mapjob import MapJob, Piece

__all__ = ["Results"]

R_co = TypeVar("R_co", covariant=True)


class Results(Generic[R_co]):
    """Results of a map call, in order or as they come.

    Iterate it, with ``for`` or ``async for``. Letting go of it half-way, or
    :meth:`close`, cancels what has not started; what was never begun to be
    iterated runs to its end.
    """

    _closed = True

    def __init__(self, job: MapJob, *, timeout: float | None, return_exceptions: bool) -> None:
        self._job = job
        self._lock = job.host.lock
        self._timeout = timeout
        self._until = None if timeout is None else monotonic() + timeout
        self._return_exceptions = return_exceptions
        self._values: list[Any] = []  # fetched and not yielded, the next one last
        self._errors: dict[int, BaseException] | None = None  # by number of values that follow
        self._after = 0  # position of the item behind those fetched
        self._touched = False
        self._closed = False  # last: what is half made has nothing to close

    def __repr__(self) -> str:
        job = self._job
        state = "closed" if self._closed else "all" if job.exhausted else "more to come"
        return f"<Results: {self._position + 1} yielded, {job.pulled} pulled, {state}>"

    def __iter__(self) -> Iterator[R_co]:
        """Go through what is left; like ``iter`` of an iterator, but faster."""
        return chain.from_iterable(self._runs())

    def _runs(self) -> Iterator[Iterable[R_co]]:
        """Give what is there, a piece at a time; each value is let go of as it is taken."""
        while self._values or self._more():
            values = self._values
            if self._errors is None:
                yield starmap(values.pop, repeat((), len(values)))
            else:
                yield (self._pop(),)

    def __next__(self) -> R_co:
        """Give the next result, or raise the item's error; waits if it must."""
        if not self._values and not self._more():
            raise StopIteration
        if self._errors is None:
            return cast("R_co", self._values.pop())
        return self._pop()

    def close(self) -> None:
        """Cancel what has not started; there will be no more results."""
        if self._closed:
            return
        if held_here():  # by a finalizer, in the middle of a step of a pool
            self._closed = True
            self._job.host.without_lock(self._cancel)
            return
        calmly(self._cancel)
        self._farewell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Let go of half-way. Never begun means: run it all, nobody wants to see the results. When the
        # interpreter takes its modules apart there is nobody to run anything, and little to do it with.
        if self._closed or is_finalizing():
            return
        job = self._job
        if job.finished:
            return
        if self._touched:
            job.host.without_lock(self._cancel)
        else:
            job.unseen = True

    def __aiter__(self) -> AsyncIterator[R_co]:
        """Go through the results without blocking the event loop."""
        return self

    async def __anext__(self) -> R_co:
        """Give the next result; the event loop goes on meanwhile."""
        while not self._values:
            if not await self._more_async():
                raise StopAsyncIteration
        if self._errors is None:
            return cast("R_co", self._values.pop())
        try:
            return self._pop(patient=False)
        except BaseException:
            await self._farewell_async()
            raise

    def __reduce__(self) -> NoReturn:
        message = (
            "the results of a map call cannot leave the process that waits for them. Pass the results themselves, such "
            "as list(results)."
        )
        raise NotPicklable(message, part="argument")

    # -------------------------------------------------------------------- below

    def _cancel(self) -> None:
        self._closed = True
        self._values = []
        with self._lock:
            self._job.close()
        self._job.host.sweep()

    def _farewell(self) -> None:
        """Let a display show the last of it, and a journal be closed, before what the consumer does next."""
        for guest in self._guests():
            guest.wait()

    async def _farewell_async(self) -> None:
        """Do the same without blocking the event loop."""
        for guest in self._guests():
            from workpool.eventloops import wakeup

            waking = wakeup()
            patience = guest.when_done(waking.set)
            await waking.wait(patience)

    @property
    def _position(self) -> int:
        """Position in the input of what was yielded last."""
        return self._after - len(self._values) - 1

    def _guests(self) -> list[Meter | Scribe]:
        """List whom to wait for: a journal only at the end, for what runs on after a close is kept too."""
        job = self._job
        guests: list[Meter | Scribe] = []
        if job.meter is not None:
            guests.append(job.meter)
        if job.scribe is not None and not job.closed:
            guests.append(job.scribe)
        return guests

    def _pop(self, *, patient: bool = True) -> R_co:
        """Give the next value, or raise its error; an event loop is not made to wait for a display."""
        errors = self._errors
        assert errors is not None
        error = errors.pop(len(self._values) - 1, None)
        value = self._values.pop()
        if not errors:
            self._errors = None
        if error is None:
            return cast("R_co", value)
        if self._return_exceptions:
            return cast("R_co", error)
        self._cancel()
        if patient:
            self._farewell()
        try:
            raise error
        finally:
            del error, errors  # no cycle through the traceback

    def _take(self, piece: Piece) -> None:
        values = piece.values
        self._after = piece.start + len(values)
        values.reverse()  # yielded from the end, so that nothing yielded is held
        self._values = values
        if piece.errors is None:
            self._errors = None
        else:
            last = len(values) - 1
            self._errors = {last - offset: error for offset, error in piece.errors.items()}

    def _fetch(self, listener: Callable[[], object]) -> bool:
        """Take the next piece, or have ``listener`` called when there may be one."""
        with self._lock:
            piece = self._job.fetch()
            if piece is None:
                self._job.listener = listener
                return False
        self._take(piece)
        return True

    def _more(self) -> bool:
        """Wait for the next piece; False at the end."""
        self._touched = True
        job = self._job
        job.host.refuse_midway("next")
        while not self._closed:
            job.pull()
            over = job.finished
            if over:
                self._farewell()
                return self._end()
            job.host.assist_job(job)
            sleeper = make_sleeper()
            if self._fetch(sleeper.release):
                return True
            if job.finished:
                continue
            if not sleep_on(sleeper, None if self._until is None else self._until - monotonic()):
                self.close()
                raise self._too_late()
        return False

    async def _more_async(self) -> bool:
        """Wait for the next piece without blocking the event loop; False at the end."""
        from workpool.eventloops import wakeup

        self._touched = True
        job = self._job
        while not self._closed:
            job.pull()
            over = job.finished
            if over:
                await self._farewell_async()
                return self._end()
            job.host.assist_job(job)
            waking = wakeup()
            if self._fetch(waking.set):
                return True
            if job.finished:
                continue
            left = None if self._until is None else max(0.0, self._until - monotonic())
            if not await waking.wait(left):
                self._cancel()
                raise self._too_late()
        return False

    def _too_late(self) -> TimeoutError:
        return TimeoutError(
            f"the next result of a map call was not there {self._timeout} s after the call; what had not started "
            "is cancelled"
        )

    def _end(self) -> bool:
        """Come to the end: in order, or because the pool was closed under the consumer, or broke."""
        job = self._job
        if (job.closed or job.reason is not None) and not self._closed:
            self._closed = True
            raise job.reason if job.reason is not None else CancelledError
        return False
