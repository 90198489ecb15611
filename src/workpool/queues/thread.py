"""A queue between threads whose usual call takes no lock.

``queue.Queue`` takes its lock and asks a Condition in every call, and threads
that meet there take turns sleeping. Here the usual call is one or two methods
of a deque, each of which is one step for all threads.

States
    *Free*: ``append`` and ``popleft`` are all there is. *Guarded*: whatever has
    to look before it acts holds `_lock`: a wait, a put into a bounded queue, a
    get once the queue is shut down, all of a PriorityQueue, and everything on a
    Python without the GIL. Free and guarded calls may meet; a guarded one knows
    that items come and go while it looks. So do those of a signal's handler or a
    finalizer, which comes by while this very thread holds `_lock`.

Guarantees
    *Nobody sleeps through what it waits for*: see `workpool.queues.sleepers`.

    *Nothing gets in after shutdown.* A free put that was overtaken by shutdown
    takes its own item out again and raises; if a consumer was faster, the put
    came first. (So items lie in cells that equal nothing but themselves.)

    *Join never overtakes an item.* A debt is noted before the item is in, and
    paid by task_done: see `workpool.queues.debts`.

    *An exception that strikes inside a call* (Ctrl-C, a time limit) leaves an
    item in the queue and counted, or out and not counted; a get that it
    strikes may have taken the item, which stays unfinished. No one else sleeps
    on for it: a call that is struck wakes whom it would have woken, if need be again.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from operator import call
from queue import Empty, Full
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

from typing_extensions import override

from workpool._compat import RLock, ShutDown, across_forks, gil_enabled
from workpool.errors import NotPicklable, Unsupported
from workpool.queues.calls import checked_maxsize, wait_of
from workpool.queues.debts import Indebted
from workpool.queues.sleepers import NOTHING, Rooms, rouse, rouse_all, wait

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from workpool.queues.sleepers import Sleepers

__all__ = ["Queue", "Scope"]

T = TypeVar("T")
Scope = Literal["thread", "process"]

# With the GIL, a deque's method is one step, and all threads see the steps in one order.
FREE: Final = gil_enabled()

_NUMBERS: Final = (int, float)
_ALWAYS: Final = (None,)


class Queue(Indebted[T]):
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
        "_discarding",
        "_free_get",
        "_free_put",
        "_getters",
        "_items",
        "_pop",
        "_putters",
        "_rooms",
        "_watch",
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
        self._rooms = rooms = across_forks(Rooms(RLock()))
        self._lock = rooms.lock  # guards what follows, and every look before an act
        self._begin_ledger()
        self._getters, self._putters, self._joiners = rooms.getters, rooms.putters, rooms.joiners
        self._watch: Any = (
            self._getters
        )  # truthy if a put has to look round: someone sleeps, or it is shut down
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
    @override
    def is_shutdown(self) -> bool:
        return self._closed

    # ---------------------------------------------------------------- put and get

    @override
    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        if not self._free_put:
            self._put_guarded(item, block, timeout)
            return
        cell = repeat(item)
        half = True
        try:
            self._owe()
            half = False
            self._append(cell)
            if self._watch:
                self._look_round(cell)
        except StopIteration:
            self._fold()
            self.put(item)
        except BaseException:
            self._put_struck(cell, half=half)
            raise

    @override
    def get(self, block: bool = True, timeout: float | None = None) -> T:
        if self._free_get and (timeout is None or (timeout.__class__ in _NUMBERS and timeout >= 0)):
            try:
                cell = self._pop()
                if self._putters:
                    self._tell(self._putters)
            except IndexError:
                pass
            except BaseException:
                self._tell(self._putters)
                raise
            else:
                return next(cell)
        return self._get_guarded(block, timeout)

    # ---------------------------------------------------------------- how full it is

    @override
    def qsize(self) -> int:
        return len(self._items)

    @override
    def shutdown(self, immediate: bool = False) -> None:
        discarded: list[object] = []  # freed after the lock: what an item's end calls may come here
        with self._lock:
            try:
                self._shut(immediate, discarded)
            except BaseException:
                self._shut(immediate, discarded)
                raise

    def _shut(self, immediate: bool, discarded: list[object]) -> None:
        """Shut down, or go on with that; `_lock` is held."""
        self._closed = True
        self._watch = _ALWAYS
        self._free_put = self._free_get = False
        if immediate:
            self._discarding = True
            while self._items:
                one = chain.from_iterable(repeat((self._items.pop, self._pay)))
                try:
                    # In one step of C, so that no item is out and counted.
                    discarded.extend(map(call, one))
                except IndexError:
                    if len(discarded) % 2:  # out and not paid for
                        discarded.append(None)
                        # task_done may have been called for items that were still queued.
                        with suppress(ValueError):
                            self._settle()
        rouse_all(self._getters)
        rouse_all(self._putters)
        self._tell_joiners()

    # ---------------------------------------------------------------- guarded calls

    def _put_guarded(self, item: T, block: bool, timeout: float | None) -> None:
        if timeout is not None and block and self._maxsize > 0:
            timeout = wait_of(timeout)
        with self._lock:
            if self._try_put(item) is not NOTHING:
                return
        if (
            not block
            or wait(self._lock, self._putters, lambda: self._try_put(item), timeout) is NOTHING
        ):
            raise Full

    def _get_guarded(self, block: bool, timeout: float | None) -> T:
        if timeout is not None and block:
            timeout = wait_of(timeout)
        with self._lock:
            item = self._try_get()
        if item is NOTHING and block:
            item = wait(self._lock, self._getters, self._try_get, timeout)
        if item is NOTHING:
            raise Empty
        return cast("T", item)

    def _try_put(self, item: T) -> Any:
        """Put the item if there is room; `_lock` is held."""
        if self._closed:
            raise ShutDown
        if 0 < self._maxsize <= len(self._items):
            return NOTHING
        cell = repeat(item)
        half = True
        try:
            self._owe()
            half = False
            self._append(cell)
            if self._watch:
                self._look_round(cell)
        except StopIteration:
            self._fold()
            return self._try_put(item)
        except BaseException:
            self._put_struck(cell, half=half)
            raise
        return None

    def _try_get(self) -> Any:
        """Take an item if there is one; `_lock` is held."""
        if self._discarding:
            raise ShutDown
        try:
            cell = self._pop()
            if self._putters or self._getters:
                self._pass_on()
        except IndexError:
            if self._closed:
                raise ShutDown from None
            return NOTHING
        except BaseException:
            self._pass_on()
            raise
        return next(cell)

    def _pass_on(self) -> None:
        """Wake who may come next after an item was taken; `_lock` is held."""
        if self._putters:
            rouse(self._putters)
        if self._getters and self._items:
            # A put that was struck down before it could wake anyone, or woke one who left.
            rouse(self._getters)

    # ---------------------------------------------------------------- steps that may be made twice

    def _tell(self, sleepers: Sleepers) -> None:
        """Wake one."""
        with self._lock:
            rouse(sleepers)

    def _look_round(self, cell: repeat[T]) -> None:
        """Finish a put that met a sleeper or a shutdown."""
        with self._lock:
            if not self._closed:
                rouse(self._getters)
                return
            steps: tuple[Callable[[], None], ...] = (partial(self._items.remove, cell), self._pay)
            try:
                # In one step of C: it is out and not counted, or neither.
                deque(map(call, steps), 0)
            except ValueError:
                return  # someone took it: this put came before the shutdown
            except IndexError:
                with suppress(ValueError):
                    self._settle()
            finally:
                self._tell_joiners()
            raise ShutDown

    def _put_struck(self, cell: repeat[T], *, half: bool) -> None:
        """Finish a put that an exception struck; ``half``: its item is counted and not in."""
        with self._lock:
            if half:
                with suppress(ValueError):
                    self._settle()
            else:
                with suppress(ShutDown):
                    self._look_round(cell)
