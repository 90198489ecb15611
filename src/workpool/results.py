"""What map returns: an iterator, and an async iterator, over results as they come.

Input is pulled here, in the thread that consumes. A yielded result is no longer
held by anybody but the consumer.

Several may consume at once
    Loops, ``next`` and ``async for``, in one thread or in many, take from one *run*: the values of
    a piece, each let go of in the step that gives it. Who finds it empty looks for the next
    piece under the scheduler's lock, and sleeps without it. Whoever sleeps is woken when a piece
    comes, when there is input that nobody pulls, at the end, and when the results are closed.
    So each result goes to one of them, and all come to the end; an error goes to one as well.
"""

from __future__ import annotations

import sys
from concurrent.futures import CancelledError
from functools import partial
from itertools import chain, repeat, starmap
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Self, TypeVar

from workpool._compat import gil_enabled
from workpool.calm import calmly
from workpool.errors import NotPicklable, TimeLimitExceeded, WouldDeadlock, brief
from workpool.midway import held_here
from workpool.scheduling.ledger import rouse
from workpool.scheduling.pulling import SLOW
from workpool.scheduling.slow_chunks import PATIENCE
from workpool.situation import here
from workpool.traces import begin_below
from workpool.waits import make_sleeper, sleep_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from workpool.scheduling.guests import Meter, Scribe
    from workpool.scheduling.mapjob import MapJob, Piece
    from workpool.scheduling.pulling import Puller

__all__ = ["Results"]

R_co = TypeVar("R_co", covariant=True)


class Results(Generic[R_co]):
    """Results of a map call, in order or as they come.

    Iterate it, with ``for`` or ``async for``. Letting go of it half-way, or
    :meth:`close`, cancels what has not started; what was never begun to be
    iterated runs to its end. Threads may share it: each result goes to one of them.
    """

    _closed = True

    def __init__(self, job: MapJob, *, timeout: float | None, return_exceptions: bool) -> None:
        self._job = job
        self._lock = job.host.lock
        self._timeout = timeout
        self._until = None if timeout is None else monotonic() + timeout
        self._return_exceptions = return_exceptions
        # What follows is changed under the lock, but that the run empties itself.
        self._values: list[Any] = []  # fetched and not yielded, the next one last
        self._run: Iterator[R_co] = iter(())  # gives them, and lets go of them
        self._error: BaseException | None = None  # to be raised behind them
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
        """Give what is there, a piece at a time."""
        yield self._run
        while self._more():
            yield self._run

    def __next__(self) -> R_co:
        """Give the next result, or raise the item's error; waits if it must."""
        for value in self._run:
            return value
        while self._more():
            for value in self._run:  # unless others were there first
                return value
        raise StopIteration

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
        let_go = partial(calmly, self._cancel) if self._touched else partial(job.host.overlook, job)
        try:
            job.host.without_lock(let_go)
        except TimeLimitExceeded:
            # Sent into a thread that is given up; raised in here nobody hears it.
            job.host.later.add(let_go)

    def __aiter__(self) -> AsyncIterator[R_co]:
        """Go through the results without blocking the event loop."""
        return self

    async def __anext__(self) -> R_co:
        """Give the next result; the event loop goes on meanwhile."""
        for value in self._run:
            return value
        while await self._more_async():
            for value in self._run:
                return value
        raise StopAsyncIteration

    def __reduce__(self) -> NoReturn:
        message = (
            "the results of a map call cannot leave the process that waits for them. Pass the results themselves, such "
            "as list(results)."
        )
        raise NotPicklable(message, part="argument")

    def _cancel(self) -> None:
        job = self._job
        with self._lock:
            self._closed = True
            dropped = [*self._run]  # a loop that goes on ends, too
            self._after -= len(dropped)  # they were not yielded
            job.host.litter.append((dropped, self._error))
            self._error = None
            job.close()
        job.host.sweep()

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

    def _more(self) -> bool:
        """Wait for the next piece; False at the end."""
        self._touched = True
        job, pause = self._job, PATIENCE
        job.host.refuse_midway("next")
        while not self._closed:
            self.pull()
            job.host.assist_job(job)
            sleeper = make_sleeper()
            listener = partial(rouse, sleeper)
            found = self._look(listener)
            if found == "values":
                return True
            if found == "over":
                words = self._last_words(StopIteration)
                self._farewell()
                return _raise(words)
            if found == "never":
                raise _waits_for_itself()
            left = None if self._until is None else self._until - monotonic()
            if found == "later":
                woken = False
                try:
                    woken = sleep_on(sleeper, pause if left is None else min(left, pause))
                finally:
                    if not woken:
                        self._unlisten(listener)
                if not woken and (left is None or left > pause):
                    pause = job.host.look_after(pause)
                    continue
            else:
                woken = left is None or left > 0
            if not woken:
                self.close()
                raise self._too_late()
        return False

    async def _more_async(self) -> bool:
        """Wait for the next piece without blocking the event loop; False at the end."""
        from workpool.eventloops import turn, wakeup

        self._touched = True
        job, pause = self._job, PATIENCE
        while not self._closed:
            began = monotonic()
            self.pull()
            if monotonic() - began >= SLOW:
                await turn()  # for the loop's other tasks, where there is always something to fetch
            job.host.assist_job(job)
            waking = wakeup()
            found = self._look(waking.set)
            if found == "values":
                return True
            if found == "over":
                words = self._last_words(StopIteration, StopAsyncIteration)
                await self._farewell_async()
                return _raise(words)
            if found == "never":
                raise _waits_for_itself()
            left = None if self._until is None else max(0.0, self._until - monotonic())
            if found == "later":
                woken = False
                try:
                    woken = await waking.wait(pause if left is None else min(left, pause))
                finally:
                    if not woken:
                        self._unlisten(waking.set)
                if not woken and (left is None or left > pause):
                    pause = job.host.look_after(pause)
                    continue
            else:
                woken = left is None or left > 0
            if not woken:
                calmly(self._cancel)
                await self._farewell_async()
                raise self._too_late()
        return False

    def pull(self, by: Puller = "consumer") -> None:
        """Pull input; an error of it is told in its place, behind the results of the items before it."""
        job = self._job
        try:
            job.pull(self._until, by=by)
        except Exception as error:
            if not job.input_failed:
                raise
            begin_below(error, 2)  # the frames hold the job, which holds the error

    def _look(
        self, listener: Callable[[], object]
    ) -> Literal["values", "over", "never", "again", "later"]:
        """See what there is.

        "later": ``listener`` is called then; "again": there is input that nobody pulls; "never": this thread does,
        in whose input it waits, and nothing else is on its way.
        """
        job = self._job
        with self._lock:
            if self._values:
                return "values"
            if self._closed or self._error is not None:
                return "over"
            piece = job.fetch()
            if piece is not None:
                self._take(piece)
                return "values"
            if job.finished:
                return "over"
            if job.pulled == job.consumed and job in here.pulls_for:
                return "never"
            return "later" if job.listen(listener) else "again"

    def _take(self, piece: Piece) -> None:
        """Have the values of a piece be given next, up to its first error; lock held, and the run empty."""
        values, errors = piece.values, piece.errors
        if errors is not None and self._return_exceptions:
            for offset, error in errors.items():
                values[offset] = error
        elif errors is not None:
            first = min(errors)
            self._error = errors[first]
            self._job.host.litter.append((values[first:], errors))
            del values[first:]
        self._after = piece.start + len(values)
        values.reverse()  # given from the end, so that nothing given is held
        # The run first: struck in between, nobody takes an empty one for one that has these values.
        self._run = _run_of(values)
        self._values = values

    def _unlisten(self, listener: Callable[[], object]) -> None:
        """Wait no more, though nobody said that there is something."""
        with self._lock:
            if listener in self._job.listeners:
                self._job.listeners.remove(listener)

    def _last_words(self, *ends: type[BaseException]) -> list[BaseException]:
        """Take what the end has to say, once for all who consume: an error, or why no more will come.

        What is one of ``ends`` itself would be taken for an end that has nothing to say.
        """
        job = self._job
        with self._lock:
            if self._closed:
                return []
            error, self._error = self._error, None
            of_item = error is not None
            if error is None:
                # Told once, and then held by nobody here: its traceback leads to whoever holds these results.
                error, job.reason = job.reason, None
            if error is None and not job.closed:
                return []
            self._closed = True
        if of_item:
            self._cancel()
        if error is None:
            error = CancelledError(
                "the rest of this map call was cancelled: its pool was killed, or shut down with cancel_futures"
            )
        if isinstance(error, ends):
            named = RuntimeError(
                f"a map call was ended by {brief(error)}, which is no end of its results"
            )
            named.__cause__ = error
            return [named]
        return [error]

    def _too_late(self) -> TimeoutError:
        return TimeoutError(
            f"the next result of a map call was not there {self._timeout} s after the call; what had not started "
            "is cancelled"
        )


def _waits_for_itself() -> WouldDeadlock:
    return WouldDeadlock(
        "the input of a map call waits for a result of this very call, and all that it has given were taken: the next "
        "one would come of what it gives next. Give the first items from elsewhere, or consume outside of the input."
    )


def _raise(words: list[BaseException]) -> bool:
    """Raise what is to be raised at the end; False if that is nothing. No frame holds it: its traceback leads there."""
    if words:
        raise words.pop()
    return False


def _counted(values: list[Any]) -> Iterator[Any]:
    """Give values from the end, and let go of each.

    Each step is one in C, in which one is counted and that one popped; others, who step
    the same iterator in between, leave both as many. So it needs the GIL.
    """
    return starmap(values.pop, repeat((), len(values)))


class _Popped:
    """The same where threads run at once: nothing is counted, and to pop is one step."""

    __slots__ = ("_pop",)

    def __init__(self, values: list[Any]) -> None:
        self._pop = values.pop

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return self._pop()
        except IndexError:
            raise StopIteration from None


_run_of: Callable[[list[Any]], Iterator[Any]] = _counted if gil_enabled() else _Popped
