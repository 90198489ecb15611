"""What was sent to a worker and has no outcome yet, by number, in order.

A worker answers in the order it was sent things, so what is outstanding is a
queue. A flight is one task, or the items of one chunk.
"""

from __future__ import annotations

from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from workpool.ipc.depot import Parcel
from workpool.ipc.frames import LARGE
from workpool.ipc.pickling import A_PROCESS
from workpool.scheduling.mapjob import Chunk, Piece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workpool.ipc.depot import Slots
    from workpool.scheduling.terms import Terms
    from workpool.task import Task

__all__ = ["Flight", "Flights"]

_NO_ITEMS: tuple[Any, ...] = ()  # of every flight that is a task


class Flight:
    """One task, or the items of one chunk, on its way."""

    __slots__ = (
        "chunk", "done", "errors", "first", "items", "measured", "size", "task", "times", "told", "upto",
        "values", "worker",
    )  # fmt: skip

    values: list[Any]
    errors: dict[int, BaseException]
    times: tuple[int, int, int]
    measured: int
    upto: int
    worker: int

    def __init__(
        self,
        first: int,
        task: Task[Any] | None,
        chunk: Chunk | None,
        items: Sequence[Any],
        size: int,
    ) -> None:
        self.first = first  # number of the task, or of the first item
        self.task = task
        self.chunk = chunk
        self.items = items  # of the chunk: kept until their outcomes are here
        self.size = size
        self.done = 0  # outcomes that came
        self.told = False  # the worker was told that it is not wanted
        if chunk is not None:
            self.values = []  # of them, those not delivered
            self.errors = {}  # by offset from the first item not delivered
            # Of the items measured since what was delivered last: how many they are, when the
            # first began and the last ended, and for how long they ran, nanoseconds.
            self.measured = 0
            self.times = (0, 0, 0)
            self.upto = 0  # when the last of those measured ended, in nanoseconds

    @property
    def time_limit(self) -> float | None:
        """The time limit of each call in it, seconds."""
        if self.task is not None:
            limit: float | None = self.task._terms.time_limit
            return limit
        assert self.chunk is not None
        return self.chunk.job.terms.time_limit

    def measure(self, began: int, ended: int, count: int) -> None:
        """Take in when items ran; 0 where they stood in a journal, which does not tell: then for no time."""
        # What ran on after that tells of its whole slice.
        began = max(began, self.upto) if began else self.upto or monotonic_ns()
        self.upto = ended = max(began, ended)
        first, _, ran = self.times
        self.times = (first or began, ended, ran + ended - began)
        self.measured += count

    def run(self, failed: int = 0) -> tuple[Any, ...] | None:
        """Take what was measured since the last time, for ``Tally.ran``."""
        chunk, count = self.chunk, self.measured
        assert chunk is not None
        if not count:
            return None
        began, ended, ran = self.times
        self.measured, self.times = 0, (0, 0, 0)
        times = (chunk.queued_at, began / 1e9, ended / 1e9, ran / 1e9)
        failed += len(self.errors)
        return self.worker, chunk.job, chunk.start + self.done - count, count, failed, times

    @property
    def grace(self) -> float:
        """Seconds between the limit of a call in it and the end of its worker."""
        terms = self.task._terms if self.task is not None else self._chunk_terms()
        return terms.grace or 0.0

    def _chunk_terms(self) -> Terms:
        assert self.chunk is not None
        return self.chunk.job.terms

    def piece(self) -> Piece | None:
        """Take what came since the last piece, as a piece of the map call."""
        assert self.chunk is not None
        if not self.values:
            return None
        start = self.chunk.start + self.done - len(self.values)
        piece = Piece(start, self.values, self.errors or None)
        self.values, self.errors = [], {}
        return piece

    def remainder(self, done: int) -> Chunk | None:
        """Give the items from offset ``done`` on as a chunk to be run elsewhere."""
        assert self.chunk is not None
        if done >= self.size:
            return None
        rest = Chunk(
            self.chunk.job, self.chunk.start + done, self.items[done:], self.chunk.attempts
        )
        rest.queued_at = self.chunk.queued_at
        return rest


class Flights:
    """All flights of one worker, the oldest first."""

    __slots__ = ("_flights", "far", "lent", "next_number", "outstanding", "slots", "worker")

    def __init__(self, worker: int = 0, far: str = A_PROCESS) -> None:
        self.worker = worker
        self.far = far  # what the worker is, for messages
        self._flights: deque[Flight] = deque()
        self.next_number = 0  # of the next call sent
        self.outstanding = 0  # calls sent and not answered
        self.lent = False  # a parcel was sent since somebody looked
        self.slots: Slots | None = None  # of the parcels that this life of the worker has

    def __bool__(self) -> bool:
        return bool(self._flights)

    def __iter__(self) -> Any:
        return iter(self._flights)

    def add_tasks(self, tasks: list[Task[Any]]) -> None:
        """Number tasks that are about to be sent together."""
        numbered = enumerate(tasks, self.next_number)
        self._flights.extend(
            [Flight(number, task, None, _NO_ITEMS, 1) for number, task in numbered]
        )
        self.next_number += len(tasks)
        self.outstanding += len(tasks)

    def add_chunk(self, chunk: Chunk, items: Sequence[Any]) -> Flight:
        """Number the items of a chunk that are about to be sent."""
        flight = Flight(self.next_number, None, chunk, items, len(items))
        flight.worker = self.worker
        self._flights.append(flight)
        self.next_number += flight.size
        self.outstanding += flight.size
        return flight

    def address(self, payload: Any, behind: list[Any]) -> Any:
        """Say in a header where a payload is to be found; what travels behind the header is added there."""
        if isinstance(payload, Parcel):
            note = None if self.slots is None else payload.note_for(self.slots)
            if note is not None:
                self.lent = True
                return note
            pieces = payload.read()
            behind += pieces
            return list(map(len, pieces))
        if len(payload) >= LARGE:
            behind.append(payload)
            return len(payload)
        return payload

    def answered(self, number: int, count: int = 1) -> Flight | None:
        """Give the flight whose next outcomes these are, or None when they were answered before."""
        flights = self._flights
        if not flights:
            return None
        flight = flights[0]
        expected = flight.first + flight.done
        if number != expected:
            if number < expected:
                return None
            # Taking it for another call's outcome would be worse than any stop.
            message = f"a worker answered call {number} before call {expected}"
            raise RuntimeError(message)
        flight.done += count
        self.outstanding -= count
        if flight.done == flight.size:
            flights.popleft()
        return flight

    def overlap(self, number: int, count: int) -> int:
        """Tell how many of these outcomes came before, if some of them, but not all, did; else 0."""
        flight = self.current
        if flight is None:
            return 0
        known = flight.first + flight.done - number
        return known if 0 < known < count else 0

    @property
    def current(self) -> Flight | None:
        """The flight that the worker is busy with, as far as is known."""
        return self._flights[0] if self._flights else None

    def task_at(self, number: int) -> Task[Any] | None:
        """Give the task that has this number; None if it is an item, or nobody's."""
        return next((f.task for f in self._flights if f.first == number), None)

    def of(self, task: Task[Any]) -> Flight | None:
        """Give the flight of a task that was sent and not answered."""
        return next((flight for flight in self._flights if flight.task is task), None)

    def take_from(self, number: int, upto: int | None = None) -> list[Any]:
        """Take out every call from this number on, none of which has begun: tasks and chunks, in order.

        ``upto`` is the last number that was recalled: a flight sent after the recall is
        not meant by its answer, and runs.
        """
        units: list[Any] = []
        kept: deque[Flight] = deque()
        for flight in self._flights:
            last = flight.first + flight.size - 1
            if last < number or (upto is not None and flight.first > upto):
                kept.append(flight)
                continue
            if flight.task is not None:
                units.append(flight.task)
                self.outstanding -= 1
                continue
            keep = max(flight.done, number - flight.first)
            rest = flight.remainder(keep)
            if rest is not None:
                units.append(rest)
                self.outstanding -= rest.size
            if keep:
                flight.size = keep
                flight.items = flight.items[:keep]
                if flight.done < flight.size:
                    kept.append(flight)
        self._flights = kept
        return units
