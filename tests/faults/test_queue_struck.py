"""Calls of a queue between processes that an exception strikes, or that find no memory: no item goes astray.

What is promised: after a get that failed the item is queued still, and what is in hand can be marked done.
"""

from __future__ import annotations

import errno
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, NoReturn

import pytest

from tests.support.dying import die
from tests.support.gates import DEADLINE, in_background
from tests.support.interrupts import interrupted_at
from tests.support.queues import drained, empty_hands, in_hand, inner, no_memory, until_asleep
from workpool.errors import NotPicklable, TimeLimitExceeded
from workpool.queues import Queue, ShutDown

fork = multiprocessing.get_context("fork")

LARGE = bytes(50_000)  # two do not fit into one segment


pytestmark = pytest.mark.usefixtures("arena")


@pytest.fixture
def queue() -> Iterator[Queue[Any]]:
    made: Queue[Any] = Queue(scope="process")
    yield made
    empty_hands(made)


class Eventful:
    """An item; while one is unpickled, something happens."""

    events: ClassVar[list[Callable[[], object]]] = []

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickle, ()


def _unpickle() -> str:
    while Eventful.events:
        Eventful.events.pop()()
    return "unpickled"


def fail_by(error: BaseException) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


def get_into(got: list[Any], queue: Queue[Any]) -> None:
    got.append(queue.get())


def next_into(got: list[Any], items: Iterator[Any]) -> None:
    got.append(next(items))


def leave_behind(queue: Queue[Any]) -> None:
    """Have a process die with one item in hand."""

    def child() -> None:
        queue.get()
        die()

    process = fork.Process(target=child)
    process.start()
    process.join(DEADLINE)
    assert process.exitcode == -signal.SIGKILL
    process.close()


# ------------------------------------------------------------------ struck by an exception


@pytest.mark.parametrize("crossing", [False, True], ids=["within", "between-segments"])
def test_a_get_may_be_interrupted_anywhere(crossing: bool) -> None:
    """The item is queued as before, for the next one to take; or it came just in time."""
    number = 0
    struck = True
    while struck:
        queue: Queue[Any] = Queue(2, scope="process")
        if crossing:
            queue.put(LARGE)
            queue.get()
            queue.task_done()
        queue.put(b"a" + LARGE)
        queue.put(b"b")
        inner(queue)._putters.enlist()  # as if someone slept
        got: list[Any] = []
        struck = interrupted_at(number, partial(get_into, got, queue))
        assert in_hand(queue) == len(got), number
        assert queue.qsize() == 2 - len(got), number
        assert queue.unfinished == 2, number
        for _ in got:
            queue.task_done()
        assert [*got, *drained(queue)] == [b"a" + LARGE, b"b"], number
        queue.join(timeout=0)
        empty_hands(queue)
        number += 1
    assert number > 10


def test_a_task_done_may_be_interrupted_anywhere() -> None:
    """The item is done, or in hand still and can be marked again."""
    outcomes: set[int] = set()
    number = 0
    struck = True
    while struck:
        queue: Queue[int] = Queue(scope="process")
        queue.put(1)
        queue.get()
        inner(queue)._joiners.enlist()  # as if someone slept
        struck = interrupted_at(number, queue.task_done)
        left = queue.unfinished
        assert in_hand(queue) == left, number
        for _ in range(left):
            queue.task_done()
        queue.join(timeout=0)
        outcomes.add(left)
        empty_hands(queue)
        number += 1
    assert outcomes == {0, 1}


def test_a_reclaim_may_be_interrupted_anywhere() -> None:
    """The item of the dead is abandoned as before; or it came just in time."""
    queue: Queue[str] = Queue(scope="process")
    queue.put("x")
    leave_behind(queue)
    number = 0
    got: list[str] = []
    taking = queue.reclaim()
    while interrupted_at(number, partial(next_into, got, taking)):
        taking = queue.reclaim()
        assert len(got) == in_hand(queue) == 0, number
        assert sum(queue.abandoned().values()) == queue.unfinished == 1, number
        number += 1
    assert number > 10
    assert got == ["x"]
    queue.task_done()
    queue.join(timeout=0)


@pytest.mark.parametrize(
    "make",
    [
        KeyboardInterrupt,
        SystemExit,
        MemoryError,
        partial(OSError, errno.EMFILE, "Too many open files"),
        partial(TimeLimitExceeded, "task 1 ran too long", time_limit=1.0, task="1"),
    ],
    ids=["interrupt", "exit", "memory", "descriptors", "time-limit"],
)
def test_an_item_that_could_not_be_unpickled_just_now_stays(
    queue: Queue[Any], make: Callable[[], BaseException]
) -> None:
    """The get fails with that error, and the next one takes the item."""
    queue.put(Eventful())
    queue.put(2)
    Eventful.events.append(fail_by(make()))
    with pytest.raises(type(make())):
        queue.get()
    assert queue.qsize() == queue.unfinished == 2
    assert drained(queue) == ["unpickled", 2]


class Alarm(Exception):
    """What a signal's handler may raise: nothing tells it from an item's own."""


@pytest.fixture
def ring() -> Iterator[Callable[[], object]]:
    """Give a call in which a signal comes whose handler raises."""

    def handle(*_: object) -> NoReturn:
        raise Alarm

    before = signal.signal(signal.SIGUSR1, handle)
    yield partial(signal.raise_signal, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_an_item_outlives_a_handler_that_raises(
    queue: Queue[Any], ring: Callable[[], object]
) -> None:
    """The get fails with what the handler of a signal raised, and the next one takes the item."""
    queue.put(Eventful())
    Eventful.events.append(ring)
    with pytest.raises(Alarm):
        queue.get()
    assert queue.qsize() == queue.unfinished == 1
    assert drained(queue) == ["unpickled"]


@pytest.mark.parametrize("make", [Alarm, LookupError])
def test_an_item_that_comes_whole_the_second_time_stays(
    queue: Queue[Any], make: type[Exception]
) -> None:
    """What was raised is not the item's own, whatever it is: it is raised as it is, and the item taken by the next."""
    queue.put(Eventful())
    Eventful.events.append(fail_by(make()))
    with pytest.raises(make):
        queue.get()
    assert drained(queue) == ["unpickled"]
    queue.put(Eventful())
    leave_behind(queue)
    Eventful.events.append(fail_by(make()))
    with pytest.raises(make):
        next(queue.reclaim())
    assert drained(queue) == ["unpickled"]  # nobody has taken the next one, so it is queued again
    queue.join(timeout=0)


def test_a_handler_that_raises_while_an_item_is_tried_again_is_heard(
    queue: Queue[Any], ring: Callable[[], object]
) -> None:
    """It strikes as the item, which failed by itself, is unpickled once more; the item stays."""
    queue.put(Eventful())
    Eventful.events += [ring, fail_by(LookupError("no such thing here"))]
    with pytest.raises(Alarm):
        queue.get()
    assert drained(queue) == ["unpickled"]


class Exits:
    """An item that ends whoever takes it."""

    def __reduce__(self) -> tuple[object, ...]:
        return sys.exit, (3,)


def test_an_item_that_exits_costs_one_get(queue: Queue[Any]) -> None:
    """It is refused like any that cannot be unpickled, counts as done, and ends no consumer."""
    queue.put(Exits())
    queue.put(2)
    with pytest.raises(NotPicklable, match="SystemExit") as caught:
        queue.get()
    assert isinstance(caught.value.__cause__, SystemExit)
    assert queue.qsize() == queue.unfinished == 1
    assert drained(queue) == [2]


def shut_down_and_fail(queue: Queue[Any], *again: bool) -> NoReturn:
    queue.shutdown(immediate=True)
    for immediate in again:
        queue.shutdown(immediate)
    raise KeyboardInterrupt


@pytest.mark.parametrize("again", [(), (False,), (True,)])
def test_what_is_put_back_after_all_was_thrown_away_is_thrown_away(
    queue: Queue[Any], again: tuple[bool, ...]
) -> None:
    """A get that is struck as the queue is shut down, once or more, leaves nothing to take or to wait for."""
    queue.put(Eventful())
    Eventful.events.append(partial(shut_down_and_fail, queue, *again))
    with pytest.raises(KeyboardInterrupt):
        queue.get()
    assert queue.qsize() == queue.unfinished == in_hand(queue) == 0
    with pytest.raises(ShutDown):
        queue.get(timeout=DEADLINE)
    queue.join(timeout=0)


def test_what_is_reclaimed_when_all_is_thrown_away_stays_abandoned(queue: Queue[Any]) -> None:
    """It was not queued, so it is not thrown away; and no get takes it."""
    queue.put(Eventful())
    leave_behind(queue)
    Eventful.events.append(partial(shut_down_and_fail, queue))
    with pytest.raises(KeyboardInterrupt):
        next(queue.reclaim())
    assert queue.qsize() == 0
    assert sum(queue.abandoned().values()) == queue.unfinished == 1
    with pytest.raises(ShutDown):
        queue.get(timeout=DEADLINE)
    assert list(queue.reclaim()) == ["unpickled"]
    queue.task_done()


def test_an_item_that_cannot_go_back_is_abandoned(queue: Queue[Any]) -> None:
    """Where another has taken the next one meanwhile, it can be taken over, as what a dead process had."""

    def overtaken() -> NoReturn:
        in_background(lambda: [queue.get(), queue.task_done()]).result()
        raise KeyboardInterrupt

    queue.put(Eventful())
    queue.put(2)
    Eventful.events.append(overtaken)
    with pytest.raises(KeyboardInterrupt):
        queue.get()
    assert queue.qsize() == 0
    assert sum(queue.abandoned().values()) == queue.unfinished == 1
    with pytest.raises(ValueError, match="task_done"):
        queue.task_done()
    assert list(queue.reclaim()) == ["unpickled"]
    queue.task_done()
    queue.join(timeout=0)


# ------------------------------------------------------------------ while it is unpickled


@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
def test_what_is_being_unpickled_is_nobodys_to_mark(queue: Queue[Any], good: bool) -> None:
    """A task_done in another thread is for what a get has returned, in whichever thread that was."""
    counts: list[int] = []

    def mark_as_often_as_it_goes() -> int:
        for count in range(5):
            try:
                queue.task_done()
            except ValueError:
                return count
        return 5

    queue.put("before")
    in_background(queue.get).result()
    queue.put(Eventful())
    if not good:
        Eventful.events += [fail_by(LookupError("no such thing here"))] * 2
    Eventful.events.append(lambda: counts.append(in_background(mark_as_often_as_it_goes).result()))
    if good:
        assert queue.get() == "unpickled"
        assert queue.unfinished == 1
        queue.task_done()
    else:
        with pytest.raises(NotPicklable, match="no such thing here"):
            queue.get()
    assert counts == [1]
    assert queue.unfinished == 0


def test_a_handler_may_get_while_another_is_unpickled(queue: Queue[Any]) -> None:
    """Each is marked once, and by the thread that took it."""
    queue.put(Eventful())
    queue.put(2)

    def handle() -> None:
        assert queue.get() == 2
        queue.task_done()
        with pytest.raises(ValueError, match="task_done"):
            queue.task_done()

    Eventful.events.append(handle)
    assert queue.get() == "unpickled"
    assert queue.unfinished == 1
    queue.task_done()
    queue.join(timeout=0)


def test_a_task_done_that_finds_no_memory_is_done(
    queue: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who joins looks for itself a moment later; so it is with an item that is refused."""
    queue.put(1)
    queue.put(Eventful())
    joining = in_background(queue.join)
    until_asleep(queue, "joiners")
    assert queue.get() == 1
    Eventful.events += [fail_by(LookupError("no such thing here"))] * 2
    with monkeypatch.context() as broken:
        broken.setattr(inner(queue)._segments, "newest", no_memory)
        with pytest.raises(NotPicklable, match="no such thing here"):
            queue.get()
        queue.task_done()
    joining.result()
