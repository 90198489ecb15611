"""A queue between the tasks of an engine: items as pickles, in its place."""

from __future__ import annotations

from itertools import count
from queue import Empty, Full
from typing import TYPE_CHECKING, Any, TypeVar, cast

from typing_extensions import override

from workpool._compat import ShutDown
from workpool.errors import NotPicklable, WorkerLost
from workpool.ipc import pickling
from workpool.ipc.strikes import sent, struck
from workpool.queues import Queue
from workpool.queues.calls import checked_maxsize, join_timeout, wait_of
from workpool.shared.in_engines.homes import Thing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workpool.shared.in_engines.homes import Channel

__all__ = ["EngineQueue", "make_queue"]

T = TypeVar("T")

_numbers = count()  # of gets, in this process
_TAKEN_OVER = -1  # stands for no get, but for what was taken over: the last such one


class QueueThing(Thing):
    """The queue in the place."""

    __slots__ = ()

    @classmethod
    def make(cls, channel: Channel, maxsize: int) -> QueueThing:
        """Make one."""
        return cls._make(channel, "queue", maxsize)

    def ask(self, name: str, *arguments: Any) -> Any:
        """Make a call of it."""
        return self._ask(name, *arguments)

    def put(self, item: bytes, timeout: float | None) -> Any:
        """Put an item; interrupted while it waits for room, it puts none."""
        return self._ask_for_it("put", item, timeout)

    def get(self, number: int, timeout: float | None) -> Any:
        """Take an item; interrupted, it leaves it to others. The number is for `undo`."""
        try:
            return self._ask("get", timeout, number)
        except BaseException as error:
            if sent(error) or isinstance(error, SystemExit):
                self.undo(number)
            raise

    def undo(self, number: int) -> None:
        """Leave to others what that get has taken."""
        self._ask("undo", number)


class EngineQueue(Queue[T]):
    """What the ``queue()`` of a pool on an engine makes.

    The calls are those of every queue here. An item travels as its pickle; who took it
    marks it done, and what a worker had taken when it died can be taken over.
    """

    __slots__ = ("_thing",)

    _thing: QueueThing

    @override
    def __repr__(self) -> str:
        queued, unfinished, closed = self._thing.ask("state")
        bound = f" maxsize={self._maxsize}" if self._maxsize > 0 else ""
        state = " shut down" if closed else ""
        return f'<Queue scope="engine"{bound} qsize={queued} unfinished={unfinished}{state}>'

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return _attach, (self._thing, self._maxsize)

    @override
    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        if block:
            timeout = wait_of(timeout)
        try:
            data = pickling.dump_whole(item)
        except Exception as error:
            if struck(error, pickling.dump_whole, item):
                raise
            message = (
                f"put() cannot send this {type(item).__qualname__} to another process: {error}. "
                "Put what the consumer needs of it."
            )
            raise NotPicklable(message, part="item") from error
        said = self._thing.put(data, timeout if block else 0.0)
        if said == "closed":
            raise ShutDown
        if said == "full":
            raise Full

    @override
    def get(self, block: bool = True, timeout: float | None = None) -> T:
        if block:
            timeout = wait_of(timeout)
        number = next(_numbers)
        data = self._thing.get(number, timeout if block else 0.0)
        if data == "closed":
            raise ShutDown
        if data == "empty":
            raise Empty
        return self._load(data, number)

    def _load(self, data: bytes, number: int) -> T:
        try:
            return cast("T", pickling.loads(data))
        except BaseException as error:
            try:
                own = not struck(error, pickling.loads, data)
            except BaseException:
                self._thing.undo(number)
                raise
            if not own:
                self._thing.undo(number)
                raise
            self._thing.ask("drop")
            message = (
                f"an item of {len(data)} bytes cannot be unpickled in this process: {error}. It is out of the queue "
                "and counts as done; put what this process can import."
            )
            raise NotPicklable(message, part="item") from error

    @property
    @override
    def unfinished(self) -> int:
        unfinished: int = self._thing.ask("state")[1]
        return unfinished

    @property
    @override
    def is_shutdown(self) -> bool:
        closed: bool = self._thing.ask("state")[2]
        return closed

    @override
    def task_done(self) -> None:
        if not self._thing.ask("task_done"):
            message = (
                "task_done() called too often: this process has taken no item that is not marked done. "
                "The process that takes an item marks it."
            )
            raise ValueError(message)

    @override
    def join(self, timeout: float | None = None) -> None:
        timeout = wait_of(timeout)
        queued, taken, abandoned = self._thing.ask("join", timeout)
        left = sum(abandoned.values())
        if queued + taken > left:
            raise join_timeout(queued + taken, queued, timeout)
        if left:
            message = (
                f"{left} items were taken by workers that died before task_done(). Take them over with reclaim(), do "
                "them or put them again, and mark each with task_done()."
            )
            raise WorkerLost(message)

    @override
    def abandoned(self) -> dict[int, int]:
        left: dict[int, int] = self._thing.ask("abandoned")
        return left

    @override
    def reclaim(self) -> Iterator[T]:
        while (data := self._thing.ask("take_over")) is not None:
            yield self._load(data, _TAKEN_OVER)

    @override
    def qsize(self) -> int:
        queued: int = self._thing.ask("state")[0]
        return queued

    @override
    def shutdown(self, immediate: bool = False) -> None:
        self._thing.ask("close", immediate)


def make_queue(channel: Channel, maxsize: int) -> EngineQueue[Any]:
    """Make a queue in the place that a channel leads to."""
    maxsize = checked_maxsize(maxsize)
    return _attach(QueueThing.make(channel, maxsize), maxsize)


def _attach(thing: QueueThing, maxsize: int) -> EngineQueue[Any]:
    """Unpickle a queue."""
    kind: type[EngineQueue[Any]] = EngineQueue
    queue = object.__new__(kind)
    queue._maxsize = maxsize
    queue._thing = thing
    return queue
