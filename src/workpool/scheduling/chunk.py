"""What travels of a map call, there and back: a chunk of items to run, a piece of results; and one item at a time.

They are cut independently: a chunk may come back in several pieces, some of it
done, the rest taken back or lost. Both are guarded by the scheduler's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.errors import anew

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workpool.scheduling.mapjob import MapJob

__all__ = ["Alike", "Chunk", "Item", "Piece"]

_NOTHING: deque[Any] = deque()  # of every chunk that is not opened


class Piece:
    """Results of neighbouring items: ``values[i]`` belongs to item ``start + i``."""

    __slots__ = ("errors", "start", "values")

    def __init__(
        self, start: int, values: list[Any], errors: Mapping[int, BaseException] | None
    ) -> None:
        self.start = start
        self.values = values
        self.errors = errors  # by offset in values; None when all went well


class Alike(Mapping[int, BaseException]):
    """One error for each of so many items that fail for one reason: each has its own, made when it is looked up."""

    __slots__ = ("_count", "_reason")

    def __init__(self, count: int, reason: BaseException) -> None:
        self._count = count
        self._reason = reason  # never raised itself

    def __getitem__(self, offset: int) -> BaseException:
        if not 0 <= offset < self._count:
            raise KeyError(offset)
        return anew(self._reason)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._count))

    def __len__(self) -> int:
        return self._count


class Chunk:
    """Items of one map call that travel together.

    Workers of this process run them off ``todo``, which holds those not started.
    Its two ends may be taken from at once: the worker takes from the left, whoever
    takes back takes from the right. Each ``popleft``/``pop`` is one atomic step, so
    every item goes to one of them.
    """

    __slots__ = ("attempts", "by_value", "items", "job", "queued_at", "size", "start", "todo")

    todo: deque[Any]

    def __init__(self, job: MapJob, start: int, items: Sequence[Any], attempts: int = 0) -> None:
        self.job = job
        self.start = start
        self.items = items  # as drawn
        self.size = len(items)  # less what was taken back
        self.attempts = attempts  # starts before this one
        self.by_value = False  # pickled so that the worker need not import __main__
        self.queued_at = 0.0  # when its first item was accepted; 0.0 if it came back
        self.todo = _NOTHING

    def open(self) -> deque[Any]:
        """Make the items ready to be run in this process."""
        self.todo = deque(self.items)
        self.items = ()
        return self.todo

    @property
    def undrawn(self) -> int:
        """Items in it, when it is queued again."""
        return self.size

    def draw(self, _: int, *, most: int = 0) -> tuple[Chunk | None, bool]:
        """Stand in the queue like a map call of one chunk: when it came back."""
        del most
        if self.job.closed:
            self.job.drop(self.size)
            self.job.host.litter.append(self)
            return None, False
        return self, False

    def cut(self, size: int) -> Chunk | None:
        """Split off what is beyond the first ``size`` items, before it is opened."""
        if self.size <= size:
            return None
        rest = Chunk(self.job, self.start + size, self.items[size:], self.attempts)
        rest.by_value, rest.queued_at = self.by_value, self.queued_at
        self.items, self.size = self.items[:size], size
        return rest

    def parts(self, count: int) -> list[Chunk]:
        """Cut it into so many chunks of about one size, before it is opened; itself is the first."""
        found: list[Chunk] = [self]
        size = -(-self.size // max(1, count))
        while (rest := found[-1].cut(size)) is not None:
            found.append(rest)
        return found

    def take_back(self, count: int) -> Chunk | None:
        """Split off the last ``count`` items at most, none of them started."""
        taken: deque[Any] = deque()
        try:
            while len(taken) < count:
                taken.appendleft(self.todo.pop())
        except IndexError:
            pass
        if not taken:
            return None
        self.size -= len(taken)
        rest = Chunk(self.job, self.start + self.size, list(taken), self.attempts)
        rest.queued_at = self.queued_at
        return rest


class Item:
    """One item of a map call that runs under a time limit."""

    __slots__ = ("began", "chunk", "offset", "settled", "value")

    def __init__(self, chunk: Chunk, offset: int, value: Any) -> None:
        self.chunk = chunk
        self.offset = offset
        self.value = value
        self.began = monotonic()
        self.settled = False  # guarded by the scheduler's lock

    def ran(self, worker: int, ended: float, *, failed: bool) -> tuple[Any, ...]:
        """Tell for ``Tally.ran`` when it ran."""
        chunk, began = self.chunk, self.began
        times = (chunk.queued_at, began, ended, ended - began)
        return worker, chunk.job, chunk.start + self.offset, 1, int(failed), times
