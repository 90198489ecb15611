"""The handles of what an engine keeps: interrupted they own nothing, and what cannot travel is told."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Callable
from queue import Empty, Full
from typing import Any, ClassVar, Literal

import pytest

from workpool import (
    Counter,
    Lock,
    NotPicklable,
    Queue,
    RateLimiter,
    Semaphore,
    Shared,
    TimeLimitExceeded,
    Unsupported,
)
from workpool.shared.in_engines import EngineHome
from workpool.shared.in_engines.place import Place
from workpool.shared.in_engines.queue import make_queue


class DirectChannel:
    """The way to a place right here; Ctrl-C, or another, can strike before or after a call is made there."""

    def __init__(self) -> None:
        self.place = Place()
        self.strikes: Literal["never", "before", "after"] = "never"
        self.by: type[BaseException] = KeyboardInterrupt

    def call(self, number: int, name: str, arguments: bytes) -> bytes:
        """Make a call as this thread; each has an event loop of its own, for none waits for another."""
        when, self.strikes = self.strikes, "never"
        if when == "before":
            raise self.by
        owner = "here", os.getpid(), 1
        said = asyncio.run(self.place.call(owner, number, name, arguments))
        if when == "after":
            raise self.by
        return said

    def __reduce__(self) -> tuple[object, ...]:
        return _found, (id(self),)


_channels: dict[int, DirectChannel] = {}


def _found(key: int) -> DirectChannel:
    return _channels[key]


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> DirectChannel:
    """Give a channel that can be pickled."""
    made = DirectChannel()
    monkeypatch.setitem(_channels, id(made), made)
    return made


@pytest.fixture
def home(channel: DirectChannel) -> Any:
    """Give what makes shared state at the end of the channel."""
    return EngineHome(channel)


@pytest.fixture
def queue(channel: DirectChannel) -> Queue[Any]:
    """Give a queue at the end of the channel, for two items."""
    return make_queue(channel, 2)


MOMENTS = pytest.mark.parametrize("when", ["before", "after"])


@MOMENTS
@pytest.mark.parametrize("by", [KeyboardInterrupt, TimeLimitExceeded])
@pytest.mark.parametrize("what", ["lock", "semaphore", "shared"])
def test_an_interrupted_call_owns_nothing(
    channel: DirectChannel, home: Any, what: str, by: type[BaseException], when: Any
) -> None:
    """Ctrl-C, or a time limit, on the way there or on the way back leaves locks and permits to others."""
    things: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {}
    lock, semaphore, shared = Lock(scope=home), Semaphore(scope=home), Shared(1, scope=home)
    things["lock"] = lock.acquire, lambda: lock.acquire(blocking=False)
    things["semaphore"] = semaphore.acquire, lambda: semaphore.acquire(blocking=False)
    things["shared"] = shared.lock().__enter__, lambda: shared.get() == 1
    interrupted, works = things[what]
    channel.strikes, channel.by = when, by
    with pytest.raises(by):
        interrupted()
    assert works()


@MOMENTS
@pytest.mark.parametrize("by", [KeyboardInterrupt, TimeLimitExceeded])
def test_an_interrupted_get_leaves_the_item(
    channel: DirectChannel, queue: Queue[Any], by: type[BaseException], when: Any
) -> None:
    """Ctrl-C, or a time limit, in get() loses no item: it is the next one again, and the order is kept."""
    queue.put("first")
    queue.put("second")
    channel.strikes, channel.by = when, by
    with pytest.raises(by):
        queue.get()
    assert [queue.get(), queue.get()] == ["first", "second"]
    queue.task_done()
    queue.task_done()
    queue.join(0)


def test_an_interrupted_put_may_have_put(channel: DirectChannel, queue: Queue[Any]) -> None:
    """Ctrl-C on the way back from put() takes nothing out again; before it, nothing was put."""
    channel.strikes = "before"
    with pytest.raises(KeyboardInterrupt):
        queue.put("never")
    channel.strikes = "after"
    with pytest.raises(KeyboardInterrupt):
        queue.put("put")
    assert (queue.get(), queue.qsize()) == ("put", 0)


def test_handles_find_their_thing_again(home: Any, queue: Queue[Any]) -> None:
    """A handle that travelled stands for the same thing, its fixed numbers included."""
    counter, limiter = Counter(5, scope=home), RateLimiter(3, per=2.0, scope=home)
    queue.put("item")
    counter_there, limiter_there, queue_there = pickle.loads(
        pickle.dumps((counter, limiter, queue))
    )
    counter_there.add(2)
    assert counter.value == 7
    assert limiter_there.acquire(blocking=False)
    assert (limiter_there.calls, limiter_there.per) == (3, 2.0)
    assert (queue_there.get(), queue_there.maxsize, queue.qsize()) == ("item", 2, 0)


class Stuck:
    """It can be pickled, and not unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise LookupError("not here")


def test_an_item_that_cannot_travel_is_not_put(queue: Queue[Any]) -> None:
    """put() refuses what has no pickle, and the queue is as before."""
    with pytest.raises(NotPicklable, match=r"put\(\) cannot send this generator") as caught:
        queue.put(n for n in range(3))
    assert caught.value.part == "item"
    assert queue.unfinished == 0


def test_an_item_that_cannot_be_unpickled_is_done(queue: Queue[Any]) -> None:
    """get() says so, and the item counts as done: nobody could ever mark it."""
    queue.put(Stuck())
    queue.put("next")
    with pytest.raises(NotPicklable, match="cannot be unpickled in this process: not here"):
        queue.get()
    assert queue.unfinished == 1
    assert queue.get() == "next"


class OnceStuck:
    """It cannot be unpickled just now."""

    errors: ClassVar[list[BaseException]] = []

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickle, ()


def _unpickle() -> str:
    if OnceStuck.errors:
        raise OnceStuck.errors.pop()
    return "unpickled"


@pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt, SystemExit, TimeLimitExceeded])
def test_an_item_that_could_not_be_unpickled_just_now_stays(
    queue: Queue[Any], kind: type[BaseException]
) -> None:
    """What was raised is not its own: it comes out of get(), and the item is the next one again."""
    queue.put(OnceStuck())
    queue.put("next")
    OnceStuck.errors.append(kind())
    with pytest.raises(kind):
        queue.get()
    assert (queue.qsize(), queue.unfinished) == (2, 2)
    assert [queue.get(), queue.get()] == ["unpickled", "next"]


def test_a_bounded_queue_says_full_and_empty(queue: Queue[Any]) -> None:
    """Without a wait, or after it, put and get raise what queue.Queue raises; repr tells the state."""
    with pytest.raises(Empty):
        queue.get_nowait()
    queue.put(1)
    queue.put(2)
    with pytest.raises(Full):
        queue.put(3, timeout=0.01)
    assert queue.full()
    assert repr(queue) == '<Queue scope="engine" maxsize=2 qsize=2 unfinished=2>'
    queue.shutdown(immediate=True)
    assert queue.is_shutdown
    assert repr(queue) == '<Queue scope="engine" maxsize=2 qsize=0 unfinished=0 shut down>'


def test_a_value_that_cannot_travel_changes_nothing(home: Any) -> None:
    """What has no pickle is refused, when it is made and when it is set; the old value stays."""
    with pytest.raises(NotPicklable, match="a Shared cannot hold a generator") as caught:
        Shared((n for n in range(3)), scope=home)
    assert caught.value.part == "value"
    shared: Shared[Any] = Shared(1, scope=home)
    with pytest.raises(NotPicklable):
        shared.set(n for n in range(3))
    with pytest.raises(NotPicklable), shared.lock() as box:
        box.value = (n for n in range(3))
    assert shared.get() == 1


def test_a_value_that_cannot_be_unpickled_is_not_locked(home: Any) -> None:
    """A block that cannot begin leaves the lock free: another value can be set."""
    shared: Shared[Any] = Shared(Stuck(), scope=home)
    with pytest.raises(LookupError, match="not here"):
        shared.lock().__enter__()
    shared.set(2)
    assert shared.get() == 2


def test_an_array_is_refused_with_a_way_out(home: Any) -> None:
    """Memory is not shared between machines: the error says what to do instead."""
    from workpool import Array

    with pytest.raises(Unsupported, match=r"array\(\(3,\)\) cannot be kept.*backend=\"process\""):
        Array(3, scope=home)
