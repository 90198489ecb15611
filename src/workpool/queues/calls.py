"""What every queue promises: the calls of ``queue.Queue``, and what one misses there.

All of ``queue.Queue`` of Python 3.13, typed; a timeout for `Calls.join`, ``for
item in queue``, and how many are `Calls.unfinished`. How it is done is for the
classes that derive from this one.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Generic, SupportsIndex, TypeVar

from workpool._compat import ShutDown
from workpool.errors import JoinTimeout
from workpool.waits import checked_timeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

__all__ = ["Calls", "checked_maxsize", "join_timeout", "wait_of"]

T = TypeVar("T")


class Calls(Generic[T]):
    """The calls of a queue, and those of them that need no more than the others."""

    __slots__ = ("_maxsize",)

    _maxsize: int

    def __copy__(self) -> Self:
        return self  # it is shared: a copy would have to be the same

    def __deepcopy__(self, memo: object) -> Self:
        return self

    @property
    def maxsize(self) -> int:
        """Most items in the queue; ``0`` or less means no bound."""
        return self._maxsize

    @property
    def unfinished(self) -> int:
        """How many items were put and not marked done, those still queued included."""
        raise NotImplementedError

    @property
    def unfinished_tasks(self) -> int:
        """The same under the name that ``queue.Queue`` has for it."""
        return self.unfinished

    @property
    def is_shutdown(self) -> bool:
        """Whether the queue takes no more items."""
        raise NotImplementedError

    # ---------------------------------------------------------------- put and get

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Put an item into the queue, waiting for room if it is bounded and full.

        Parameters
        ----------
        item : object
            What to put.
        block : bool
            Wait for room; otherwise only look.
        timeout : float or None, seconds
            Longest wait; ``None`` waits for ever.

        Raises
        ------
        queue.Full
            There was no room in time.
        ShutDown
            The queue is shut down, or was while this call waited.
        """
        raise NotImplementedError

    def put_nowait(self, item: T) -> None:
        """Put an item into the queue if there is room now; else raise ``queue.Full``."""
        self.put(item, block=False)

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the next item out of the queue, waiting until there is one.

        It stays `unfinished` until `task_done` is called for it.

        Parameters
        ----------
        block : bool
            Wait for an item; otherwise only look.
        timeout : float or None, seconds
            Longest wait; ``None`` waits for ever.

        Returns
        -------
        object
            The item.

        Raises
        ------
        queue.Empty
            There was no item in time.
        ShutDown
            The queue is shut down, and empty or shut down ``immediate``.
        """
        raise NotImplementedError

    def get_nowait(self) -> T:
        """Take the next item if there is one now; else raise ``queue.Empty``."""
        return self.get(block=False)

    def __iter__(self) -> Iterator[T]:
        """Take items until the queue is shut down, and mark each done after the loop's body."""
        while True:
            try:
                item = self.get()
            except ShutDown:
                return
            try:
                yield item
            finally:
                del item  # nothing is kept alive while it waits for the next one
                self.task_done()

    # ---------------------------------------------------------------- the ledger

    def task_done(self) -> None:
        """Mark one item done: a consumer calls it once for each item that it took.

        Raises
        ------
        ValueError
            It was called more often than items were put.
        """
        raise NotImplementedError

    def join(self, timeout: float | None = None) -> None:
        """Wait until every item put so far is marked done.

        Parameters
        ----------
        timeout : float or None, seconds
            Longest wait; ``None`` waits for ever, ``0`` only looks.

        Raises
        ------
        JoinTimeout
            Items were left; ``error.unfinished`` says how many. The queue stays
            usable.

        References
        ----------
        The promise of :meth:`queue.Queue.join`, plus a timeout.
        """
        raise NotImplementedError

    def abandoned(self) -> dict[int, int]:
        """Count the items that were taken by processes which died before marking them done.

        Returns
        -------
        dict of int to int
            How many, by the process id of the dead one; empty between threads.
        """
        return {}

    def reclaim(self) -> Iterator[T]:
        """Take over, one by one, the items that dead processes had taken and not marked done.

        Each is then taken by this process, as if by `get`: do it or put it again,
        and call `task_done`. The dead one may have done it, all but the mark.

        Yields
        ------
        object
            An item; nothing between threads.
        """
        return iter(())

    # ---------------------------------------------------------------- how full it is

    def qsize(self) -> int:
        """Return how many items are queued; someone else may change that at once."""
        raise NotImplementedError

    def empty(self) -> bool:
        """Tell whether no item is queued; someone else may change that at once."""
        return not self.qsize()

    def full(self) -> bool:
        """Tell whether there is no room; someone else may change that at once."""
        return 0 < self._maxsize <= self.qsize()

    def shutdown(self, immediate: bool = False) -> None:
        """End the queue: no more puts, and no more gets once it is empty.

        Whoever waits in `put`, or in `get` with nothing left to take, gets
        `ShutDown`.

        Parameters
        ----------
        immediate : bool
            Throw away what is queued, and count it as done; gets end at once.
        """
        raise NotImplementedError


def checked_maxsize(maxsize: object) -> int:
    """Refuse what is no integer, by name."""
    if isinstance(maxsize, SupportsIndex) and not isinstance(maxsize, (bool, type)):
        return index(maxsize)
    message = f"maxsize must be an integer (0 or less: no bound), not {maxsize!r}"
    raise TypeError(message)


def wait_of(timeout: float | None) -> float | None:
    """Give the longest wait; refuse a negative one, as ``queue.Queue`` does, and what is no number."""
    seconds = checked_timeout(timeout)
    if seconds is not None and seconds < 0:
        message = f"'timeout' must be a non-negative number of seconds, not {timeout!r}"
        raise ValueError(message)
    return seconds


def join_timeout(unfinished: int, queued: int, timeout: float | None) -> JoinTimeout:
    """Tell what a join was waiting for."""
    taken = max(0, unfinished - queued)
    message = (
        f"{unfinished} items were not done after {timeout} s: {min(queued, unfinished)} queued, {taken} taken "
        "and not marked by task_done(). The queue stays usable."
    )
    return JoinTimeout(message, unfinished=unfinished)
