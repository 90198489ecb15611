"""The queue between processes: items as pickles, on the mechanism of `workpool.ipc.shared_queue`.

The calls are those of the queue between threads. What differs follows from
deaths: which process has taken an item counts, so `task_done` is for the process
that took it, and what a dead one left can be told and taken over.
"""

from __future__ import annotations

import marshal
import pickle
from typing import TYPE_CHECKING, Any, TypeVar, cast

from typing_extensions import override

from workpool.errors import NotPicklable, WorkerLost, brief
from workpool.ipc import pickling
from workpool.ipc.shared_queue import SharedQueue
from workpool.ipc.strikes import struck
from workpool.queues.calls import checked_maxsize, join_timeout, wait_of
from workpool.queues.thread import Queue, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ProcessQueue"]

T = TypeVar("T")

_loads = pickling.loads
_A_PICKLE = 0x80  # the first byte of each; of nothing in marshal's second format, which takes a third of the time


class ProcessQueue(Queue[T]):
    """What ``Queue(scope="process")`` makes.

    An item travels as its pickle, or in marshal's format, so each `get` gives a copy. Any number of
    processes, and of threads in each, may put and get. A process that is killed
    blocks no one; a call that it was in took place or did not.

    Parameters
    ----------
    maxsize : int
        Most items in the queue; ``0`` or less means no bound but memory.
    scope : {"process"}
        There for the signature's sake.

    Notes
    -----
    `task_done` marks the oldest item that the calling thread has taken and not
    marked, or else one that another thread of the process has. It is a
    ``ValueError`` in a process that has none, unlike between threads: an item
    that another process took is that one's to mark, and so stays known as its
    own should it die. An interpreter is a process here, but `abandoned` tells the
    process id. An item keeps its memory until it is marked done.
    """

    __slots__ = ("_shared",)

    def __init__(self, maxsize: int = 0, *, scope: Scope = "process") -> None:
        del scope  # it brought us here
        self._maxsize = checked_maxsize(maxsize)
        self._shared = SharedQueue.create(self._maxsize)

    @override
    def __repr__(self) -> str:
        bound = f" maxsize={self._maxsize}" if self._maxsize > 0 else ""
        state = " shut down" if self._shared.closed else ""
        return f'<Queue scope="process"{bound} qsize={self.qsize()} unfinished={self.unfinished}{state}>'

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return _attach, (self._shared,)

    # ---------------------------------------------------------------- put and get

    @override
    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        if timeout is not None and block and self._maxsize > 0:
            timeout = wait_of(timeout)
        self._shared.put(_dump(item), block, timeout)

    @override
    def get(self, block: bool = True, timeout: float | None = None) -> T:
        if timeout is not None and block:
            timeout = wait_of(timeout)
        payload, keeping = self._shared.get(block, timeout)
        try:
            item: T = _loads(payload) if payload[0] == _A_PICKLE else marshal.loads(payload)  # noqa: S302 - ours
            for _ in keeping:
                break
            return item
        except BaseException as error:
            self._refuse(payload, error)
            raise

    def _refuse(
        self, payload: memoryview[int], error: BaseException, *, abandoned: bool = False
    ) -> None:
        """Put back what this thread took last; or, if it fails here again, mark it done and raise that."""
        try:
            foreign = struck(error, _load, payload)
        except BaseException:
            self._shared.put_back(abandoned=abandoned)
            raise
        if foreign:
            self._shared.put_back(abandoned=abandoned)
            return
        self._shared.drop()
        message = (
            f"an item of {len(payload)} bytes cannot be unpickled in this process: "
            f"{brief(error)}. It is out of the queue and counts as done; put what this process can import."
        )
        raise NotPicklable(message, part="item") from error

    # ---------------------------------------------------------------- the ledger

    @property
    @override
    def unfinished(self) -> int:
        remains = self._shared.remains()
        return remains.queued + remains.taken

    @property
    @override
    def is_shutdown(self) -> bool:
        return self._shared.closed

    @override
    def task_done(self) -> None:
        try:
            self._shared.done()
        except LookupError:
            message = (
                "task_done() called too often: this process has taken no item that is not marked done. "
                "The process that takes an item marks it."
            )
            raise ValueError(message) from None

    @override
    def join(self, timeout: float | None = None) -> None:
        timeout = wait_of(timeout)
        queued, taken, abandoned = self._shared.join(timeout)
        if abandoned:
            whose = ", ".join(f"{count} by process {pid}" for pid, count in abandoned.items())
            message = (
                f"{sum(abandoned.values())} items were taken by processes that died before task_done() ({whose}); "
                f"{queued} more are queued. Take them over with reclaim(), do them or put them again, and "
                "mark each with task_done()."
            )
            raise WorkerLost(message)
        if queued + taken:
            raise join_timeout(queued + taken, queued, timeout)

    @override
    def abandoned(self) -> dict[int, int]:
        return self._shared.remains().abandoned

    @override
    def reclaim(self) -> Iterator[T]:
        found = self._shared.take_over()
        while found is not None:
            payload, since = found
            try:
                item = cast("T", _load(payload))
                for _ in self._shared.keeping:
                    break
            except BaseException as error:
                self._refuse(payload, error, abandoned=True)
                raise
            yield item
            del item  # nothing is kept alive while the next one is looked for
            found = self._shared.take_over(since)

    # ---------------------------------------------------------------- how full it is

    @override
    def qsize(self) -> int:
        return self._shared.queued()

    @override
    def shutdown(self, immediate: bool = False) -> None:
        self._shared.close(discard=immediate)


def _attach(shared: SharedQueue) -> ProcessQueue[Any]:
    """Unpickle a queue."""
    kind: type[ProcessQueue[Any]] = ProcessQueue
    queue = kind.__new__(kind, scope="process")
    queue._maxsize = shared.maxsize
    queue._shared = shared
    return queue


def _load(payload: memoryview[int]) -> Any:
    """Open a payload."""
    return _loads(payload) if payload[0] == _A_PICKLE else marshal.loads(payload)  # noqa: S302 - ours


def _dump(item: Any) -> bytes:
    """Pickle an item; the usual one without a detour."""
    if type(item) in pickling.ALWAYS_PICKLES:
        return marshal.dumps(item, 2)
    if type(item) in pickling.PLAIN:
        return pickle.dumps(item, 5)
    try:
        return pickling.dumps(item)
    except Exception as error:
        if struck(error, pickling.dumps, item):
            raise
        raise _not_picklable(item, error) from error


def _not_picklable(item: object, error: Exception) -> NotPicklable:
    from workpool.ipc.blaming import locate

    path, culprit = locate(item)
    holds = f" holds a {type(culprit).__qualname__} at {path}" if path else ""
    message = (
        f"put() cannot send this {type(item).__qualname__} to another process: it{holds or ' cannot be pickled'}: "
        f'{brief(error)}. Put what the consumer needs of it, or use scope="thread".'
    )
    return NotPicklable(message, part="item", path=path)
