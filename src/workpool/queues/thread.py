"""A queue between threads whose usual call takes no lock.

All of ``queue.Queue`` of Python 3.13, typed, and what one misses there: a
timeout for `Queue.join`, ``for item in queue``, and how many are `unfinished`.

``queue.Queue`` takes its lock and asks a Condition in every call, and threads
that meet there take turns sleeping. Here the usual call is one or two methods
of a deque, each of which is one step for all threads.

States
    *Free*: ``append`` and ``popleft`` are all there is. *Guarded*: whatever has
    to look before it acts holds `_lock`: a wait, a put into a bounded queue, a
    get once the queue is shut down, all of a PriorityQueue, and everything on a
    Python without the GIL. Free and guarded calls may meet; a guarded one knows
    that items come and go while it looks.

Guarantees
    *Nobody sleeps through what it waits for.* A sleeper is listed first and
    looks once more then; the other side acts first and then looks at the list.

    *Nothing gets in after shutdown.* A free put that was overtaken by shutdown
    takes its own item out again and raises; if a consumer was faster, the put
    came first. (So items lie in cells that equal nothing but themselves.)

    *Join never overtakes an item.* A debt is noted before the item is in, and
    paid by task_done.

    *An exception that strikes inside a call* (Ctrl-C, a time limit) leaves an
    item in the queue and counted, or out and not counted; a get that it
    strikes may have taken the item, which stays unfinished. No one else sleeps
    on for it.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock
from collections import deque
from contextlib import suppress
from itertools import repeat
from operator import index
from queue import Empty, Full
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Literal, SupportsIndex, TypeVar, cast

from workpool._compat import ShutDown, gil_enabled
from workpool.errors import JoinTimeout, NotPicklable, Unsupported

if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable, Iterator
    from typing import Self

__all__ = ["Queue", "Scope"]

T = TypeVar("T")
Scope = Literal["thread", "process"]

FREE = (
    gil_enabled()
)  # a deque's method is one step then, and all threads see the same order of steps

NOTHING: Any = object()  # what an attempt returns that did not succeed
_TOO_MANY = "task_done() called more often than items were put"


class Queue(Generic[T]):
    """A first-in, first-out queue that knows which items are not done yet.

    Parameters
    ----------
    maxsize : int
        Most items in the queue; ``0`` or less means no bound.
    scope : {"thread", "process"}
        Who shares it: the threads of this process, or other processes as well.
        A queue for processes may be passed to a task, to an initializer and to
        ``multiprocessing.Process``.

    Raises
    ------
    TypeError
        `maxsize` is no integer.
    ValueError
        There is no such scope.
    Unsupported
        A LifoQueue, a PriorityQueue or a class of your own with
        ``scope="process"``; any queue with it on Windows.

    Notes
    -----
    ``for item in queue`` takes items until the queue is shut down and empty,
    and marks each done when the loop's body is finished with it, however that
    comes: it asks for the next one, breaks, returns or raises. A consumer that
    fails so does not leave `join` waiting.
    """

    __slots__ = (
        "__weakref__",
        "_append",
        "_closed",
        "_debts",
        "_discarding",
        "_free",
        "_free_get",
        "_free_put",
        "_getters",
        "_items",
        "_joiners",
        "_lock",
        "_maxsize",
        "_owe",
        "_pay",
        "_pop",
        "_putters",
    )

    def __new__(cls, maxsize: int = 0, *, scope: Scope = "thread") -> Self:
        """Choose the class that serves the scope."""
        del maxsize  # __init__ has it
        if scope == "thread":
            return super().__new__(cls)
        if str(scope) != "process":
            message = f'scope must be "thread" or "process", not {scope!r}'
            raise ValueError(message)
        from workpool.queues.process import ProcessQueue

        if cls is Queue or cls is ProcessQueue:
            return cast("Self", object.__new__(ProcessQueue))
        message = (
            f'{cls.__name__} has no scope="process". Use Queue(scope="process"), or keep one '
            f"{cls.__name__} in the process that hands out the work."
        )
        raise Unsupported(message)

    def __init__(self, maxsize: int = 0, *, scope: Scope = "thread") -> None:
        del scope  # see __new__
        self._maxsize = checked_maxsize(maxsize)
        self._debts: deque[None] = deque()  # one for each item put and not done
        self._owe = self._debts.append
        self._pay = self._debts.pop
        self._lock = allocate_lock()  # guards what follows, and every look before an act
        self._getters: deque[LockType] = deque()  # sleepers: each a lock that is held until it is
        self._putters: deque[LockType] = deque()  # roused
        self._joiners: deque[LockType] = deque()
        self._closed = False
        self._discarding = False  # shut down at once: what may still lie here is not for get
        self._free = FREE
        self._free_put = FREE and self._maxsize <= 0  # both end with shutdown
        self._free_get = FREE
        self._items: Any = deque()  # of cells; a PriorityQueue keeps a heap of items
        self._append: Callable[[repeat[T]], None] = self._items.append
        self._pop: Callable[[], repeat[T]] = self._items.popleft

    def __repr__(self) -> str:
        bound = f" maxsize={self._maxsize}" if self._maxsize > 0 else ""
        state = " shut down" if self._closed else ""
        return f"<{type(self).__name__}{bound} qsize={self.qsize()} unfinished={self.unfinished}{state}>"

    def __reduce__(self) -> tuple[object, ...]:
        message = (
            f"a {type(self).__name__} for threads cannot go to another process. "
            'Use Queue(scope="process"), or backend="thread".'
        )
        raise NotPicklable(message, part="argument")

    @property
    def maxsize(self) -> int:
        """Most items in the queue; ``0`` or less means no bound."""
        return self._maxsize

    @property
    def unfinished(self) -> int:
        """How many items were put and not marked done, those still queued included."""
        return len(self._debts)

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
        if not self._free_put:
            self._put_guarded(item, block, timeout)
            return
        cell = repeat(item)
        half = True
        try:
            self._owe(None)
            half = False
            self._append(cell)
        finally:
            if half or self._getters or self._closed:
                self._look_round(cell, half=half)

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
        if self._free_get and (timeout is None or timeout >= 0):
            try:
                cell = self._pop()
            except IndexError:
                pass
            else:
                if self._putters:
                    with self._lock:
                        self._rouse(self._putters)
                return next(cell)
        return self._get_guarded(block, timeout)

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
        if not self._free:
            with self._lock:
                self._settle(1)
            return
        try:
            self._pay()
        except IndexError:
            raise ValueError(_TOO_MANY) from None
        finally:
            if self._joiners and not self._debts:
                with self._lock:
                    self._settle(0)

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
        check_timeout(timeout)
        if self._wait(self._joiners, self._try_join, timeout) is NOTHING:
            raise join_timeout(self.unfinished, self.qsize(), timeout)

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
        """Return how many items are queued; another thread may change that at once."""
        return len(self._items)

    def empty(self) -> bool:
        """Tell whether no item is queued; another thread may change that at once."""
        return not self.qsize()

    def full(self) -> bool:
        """Tell whether there is no room; another thread may change that at once."""
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
        discarded: list[object] = []  # freed after the lock: what an item's end calls may come here
        with self._lock:
            self._closed = True
            self._free_put = self._free_get = False
            if immediate:
                self._discarding = True
                while self._items:
                    with suppress(IndexError):  # a free get was faster
                        discarded.append(self._items.pop())
            self._rouse_all(self._getters)
            self._rouse_all(self._putters)
            # task_done may have been called for items that were still queued.
            with suppress(ValueError):
                self._settle(len(discarded))

    # ---------------------------------------------------------------- guarded calls

    def _put_guarded(self, item: T, block: bool, timeout: float | None) -> None:
        if timeout is not None and block and self._maxsize > 0:
            check_timeout(timeout)
        with self._lock:
            if self._try_put(item) is not NOTHING:
                return
        if not block or self._wait(self._putters, lambda: self._try_put(item), timeout) is NOTHING:
            raise Full

    def _get_guarded(self, block: bool, timeout: float | None) -> T:
        if timeout is not None and block:
            check_timeout(timeout)
        with self._lock:
            item = self._try_get()
        if item is NOTHING and block:
            item = self._wait(self._getters, self._try_get, timeout)
        if item is NOTHING:
            raise Empty
        return cast("T", item)

    def _try_put(self, item: T) -> Any:
        """Put the item if there is room; `_lock` is held."""
        if self._closed:
            raise ShutDown
        if 0 < self._maxsize <= len(self._items):
            return NOTHING
        half = True
        try:
            self._owe(None)
            half = False
            self._append(repeat(item))
        finally:
            if half:
                self._settle(1)
            if self._getters:
                self._rouse(self._getters)
        return None

    def _try_get(self) -> Any:
        """Take an item if there is one; `_lock` is held."""
        if self._discarding:
            raise ShutDown
        try:
            item = next(self._pop())
        except IndexError:
            if self._closed:
                raise ShutDown from None
            return NOTHING
        self._pass_on()
        return item

    def _pass_on(self) -> None:
        """Wake who may come next after an item was taken; `_lock` is held."""
        if self._putters:
            self._rouse(self._putters)
        if self._getters and self._items:
            # A put that was struck down before it could wake anyone, or woke one who left.
            self._rouse(self._getters)

    def _try_join(self) -> Any:
        return NOTHING if self._debts else None

    def _look_round(self, cell: repeat[T], *, half: bool) -> None:
        """Finish a free put that met a sleeper or a shutdown, or was struck half way."""
        with self._lock:
            if half:
                self._settle(1)
            elif not self._closed:
                self._rouse(self._getters)
            else:
                try:
                    self._items.remove(cell)
                except ValueError:
                    return  # someone took it: this put came before the shutdown
                self._settle(1)
                raise ShutDown

    def _settle(self, paid: int) -> None:
        """Pay for items that are done, and tell `join` if they were the last; `_lock` is held."""
        try:
            for _ in range(paid):
                self._pay()
        except IndexError:
            raise ValueError(_TOO_MANY) from None
        finally:
            if self._joiners and not self._debts:
                self._rouse_all(self._joiners)

    # ---------------------------------------------------------------- sleeping

    def _wait(
        self, sleepers: deque[LockType], attempt: Callable[[], Any], timeout: float | None
    ) -> Any:
        """Attempt until it succeeds or the time is up; sleep between."""
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            left = None if deadline is None else deadline - monotonic()
            sleeper = allocate_lock()
            sleeper.acquire()
            with self._lock:
                sleepers.append(sleeper)  # listed before the look: who acts after it will see us
                result = None
                try:
                    result = attempt()
                finally:
                    if result is not NOTHING or (left is not None and left <= 0):
                        _strike_off(sleepers, sleeper)
                        left = 0
                if left == 0:
                    return result
            self._sleep(sleepers, sleeper, left)

    def _sleep(self, sleepers: deque[LockType], sleeper: LockType, left: float | None) -> None:
        """Sleep until roused, or for so many seconds."""
        roused = False
        try:
            roused = sleeper.acquire(
                timeout=-1 if left is None else min(left, threading.TIMEOUT_MAX)
            )
        finally:
            if not roused:
                with self._lock:
                    if not _strike_off(sleepers, sleeper):
                        self._rouse(sleepers)  # we were, and leave: it is the next one's now

    def _rouse(self, sleepers: deque[LockType]) -> bool:
        """Wake the first sleeper, if there is one; `_lock` is held."""
        while sleepers:
            sleeper = sleepers[0]
            asleep = sleeper.locked()
            if asleep:
                sleeper.release()
            # Only now: struck down between the two, we leave an entry too many, no one asleep.
            sleepers.popleft()
            if asleep:
                return True
        return False

    def _rouse_all(self, sleepers: deque[LockType]) -> None:
        while self._rouse(sleepers):
            pass


def _strike_off(sleepers: deque[LockType], sleeper: LockType) -> bool:
    """Take a sleeper off the list; tell whether it was on it, so that no one had roused it."""
    try:
        sleepers.remove(sleeper)
    except ValueError:
        return False
    return True


def checked_maxsize(maxsize: object) -> int:
    """Refuse what is no integer, by name."""
    if isinstance(maxsize, bool) or not isinstance(maxsize, SupportsIndex):
        message = f"maxsize must be an integer (0 or less: no bound), not {maxsize!r}"
        raise TypeError(message)
    return index(maxsize)


def check_timeout(timeout: float | None) -> None:
    """Refuse a negative timeout, as ``queue.Queue`` does."""
    if timeout is not None and timeout < 0:
        message = f"'timeout' must be a non-negative number of seconds, not {timeout!r}"
        raise ValueError(message)


def join_timeout(unfinished: int, queued: int, timeout: float | None) -> JoinTimeout:
    """Tell what a join was waiting for."""
    taken = max(0, unfinished - queued)
    message = (
        f"{unfinished} items were not done after {timeout} s: {min(queued, unfinished)} queued, {taken} taken "
        "and not marked by task_done(). The queue stays usable."
    )
    return JoinTimeout(message, unfinished=unfinished)
