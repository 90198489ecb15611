"""The queue between threads where calls meet: overtaken by shutdown, struck by an exception, let go."""

from __future__ import annotations

import gc
import queue as stdlib
import threading
import weakref
from collections import deque
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from tests.support.builds import needs_gil
from tests.support.gates import DEADLINE, in_background
from tests.support.queues import guarded, until_asleep
from workpool.errors import NotPicklable, Unsupported
from workpool.queues import Empty, LifoQueue, PriorityQueue, Queue, ShutDown, sleepers
from workpool.queues.debts import FOLD


class Struck(BaseException):
    """What strikes a thread from outside: Ctrl-C, or the end of a time limit."""


class Item:
    pass


def bounded(_: int) -> Queue[Any]:
    return Queue(5)


def wrap(
    queue: Queue[Any], name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    """Put a script around one step of the queue."""
    setattr(queue, name, around(getattr(queue, name)))


def then_struck(step: Callable[..., Any]) -> Callable[..., Any]:
    """Do the step, and then be struck."""

    def run(*args: object) -> None:
        step(*args)
        raise Struck

    return run


# ------------------------------------------------------------------ overtaken by shutdown


@needs_gil
@pytest.mark.parametrize("immediate", [False, True])
@pytest.mark.parametrize("before", [True, False], ids=["before-append", "after-append"])
def test_a_put_overtaken_by_shutdown_leaves_nothing(immediate: bool, before: bool) -> None:
    """Shut down in the middle of a put: the item gets out again, and the put says so."""
    queue: Queue[str] = Queue()

    def around(append: Callable[..., Any]) -> Callable[..., Any]:
        def run(cell: object) -> None:
            if before:
                queue.shutdown(immediate)
            append(cell)
            if not before:
                queue.shutdown(immediate=False)

        return run

    wrap(queue, "_append", around)
    with pytest.raises(ShutDown):
        queue.put("late")
    assert queue.qsize() == 0
    assert queue.unfinished == 0
    with pytest.raises(ShutDown):
        queue.get()


@needs_gil
def test_a_put_overtaken_by_shutdown_and_a_consumer_came_first() -> None:
    """If someone took the item meanwhile, the put took place before the shutdown."""
    queue: Queue[str] = Queue()
    got: list[str] = []

    def around(append: Callable[..., Any]) -> Callable[..., Any]:
        def run(cell: object) -> None:
            append(cell)
            queue.shutdown()
            got.append(queue.get())

        return run

    wrap(queue, "_append", around)
    queue.put("taken")
    assert got == ["taken"]
    assert queue.unfinished == 1


@needs_gil
def test_a_put_overtaken_by_the_end_takes_out_its_own_item() -> None:
    """Another item that is equal to it stays."""
    queue: Queue[int] = Queue()
    queue.put(1)

    def around(append: Callable[..., Any]) -> Callable[..., Any]:
        def run(cell: object) -> None:
            queue.shutdown()
            append(cell)

        return run

    wrap(queue, "_append", around)
    with pytest.raises(ShutDown):
        queue.put(1)
    assert queue.get() == 1
    assert queue.unfinished == 1


# ------------------------------------------------------------------ struck by an exception


@pytest.mark.parametrize("make", [Queue, guarded, LifoQueue, bounded])
def test_a_put_struck_before_the_item_is_in_counts_nothing(
    make: Callable[[int], Queue[int]],
) -> None:
    """No debt stays for an item that never got in."""
    queue = make(0)
    wrap(queue, "_owe", then_struck)
    with pytest.raises(Struck):
        queue.put(1)
    assert queue.unfinished == 0
    assert queue.qsize() == 0
    queue.join(timeout=0)


@pytest.mark.parametrize("make", [Queue, guarded, LifoQueue, bounded])
def test_a_put_struck_after_the_item_is_in_wakes_a_getter(
    make: Callable[[int], Queue[int]],
) -> None:
    """The item is in and counted, and whoever slept for it has it."""
    queue = make(0)
    getting = in_background(queue.get)
    until_asleep(queue, "getters")
    wrap(queue, "_append", then_struck)
    with pytest.raises(Struck):
        queue.put(1)
    assert getting.result() == 1
    assert queue.unfinished == 1


def test_a_task_done_that_is_struck_still_ends_a_join() -> None:
    """The last one was marked, so join returns."""
    queue: Queue[int] = Queue()
    queue.put(1)
    queue.get()
    joining = in_background(queue.join)
    until_asleep(queue, "joiners")
    wrap(queue, "_pay", then_struck)
    with pytest.raises(Struck):
        queue.task_done()
    joining.result()


class FakeSleeper:
    """A lock that is held, and at which something happens when one sleeps on it."""

    def __init__(self, on_sleep: Callable[[FakeSleeper], bool]) -> None:
        self._on_sleep = on_sleep
        self._held = False

    def acquire(self, timeout: float = -1) -> bool:
        if self._held:
            return self._on_sleep(self)
        self._held = True
        return True

    def locked(self) -> bool:
        return self._held

    def release(self) -> None:
        self._held = False


@pytest.mark.parametrize("struck", [True, False], ids=["struck", "late"])
def test_a_call_to_wake_that_comes_too_late_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, struck: bool
) -> None:
    """Who was roused as its wait ended otherwise lets the next sleeper have it."""
    lock = threading.RLock()
    listed: deque[Any] = deque()
    next_one = threading.Lock()
    next_one.acquire()

    def roused_and_struck(_: FakeSleeper) -> bool:
        if next_one.locked():  # for the first time
            listed.append(next_one)
            with lock:
                sleepers.rouse(listed)
        if struck:
            raise Struck
        return False

    def make_sleeper() -> FakeSleeper:
        sleeper = FakeSleeper(roused_and_struck)
        sleeper.acquire()
        return sleeper

    monkeypatch.setattr(sleepers, "make_sleeper", make_sleeper)
    with pytest.raises(Struck) if struck else monkeypatch.context():
        sleepers.wait(lock, listed, lambda: sleepers.NOTHING, 0.0001 if not struck else None)
    assert not next_one.locked()
    assert not listed


def test_an_attempt_that_raises_leaves_no_sleeper() -> None:
    """Nobody is listed who does not sleep."""
    lock: Any = threading.RLock()
    listed: deque[Any] = deque()

    def attempt() -> object:
        raise Struck

    with pytest.raises(Struck):
        sleepers.wait(lock, listed, attempt, None)
    assert not listed
    assert not lock._is_owned()


def test_no_one_roused_is_left_on_the_list() -> None:
    """To take a sleeper off the list and to wake it is one step; no one there is no one woken."""
    asleep: Any = threading.Lock()
    asleep.acquire()
    listed: deque[Any] = deque([asleep])
    assert sleepers.rouse(listed)
    assert not asleep.locked()
    assert not listed
    assert not sleepers.rouse(listed)


def test_a_getter_that_leaves_items_behind_wakes_the_next() -> None:
    """If a put could not wake anyone, the next one to take an item does."""
    queue: Queue[int] = guarded(0)
    getting = [in_background(queue.get, timeout=DEADLINE) for _ in range(2)]
    until_asleep(queue, "getters")

    def unheard(_: object) -> bool:
        return False

    with pytest.MonkeyPatch.context() as deaf:
        from workpool.queues import thread

        deaf.setattr(thread, "rouse", unheard)
        for number in range(3):
            queue.put(number)
    assert queue.get() == 0
    assert sorted(one.result() for one in getting) == [1, 2]


# ------------------------------------------------------------------ what is never marked done


@pytest.mark.parametrize("make", [Queue, guarded, LifoQueue, PriorityQueue, bounded])
def test_items_that_are_never_done_cost_no_memory_each(make: Callable[[int], Queue[int]]) -> None:
    """They are counted all the same, may all be marked later, and not one more."""
    count = 5 * FOLD
    queue = make(0)
    for number in range(count):
        queue.put(number)
        queue.get()
    assert queue.unfinished == count
    assert len(queue._debts) <= 3 * FOLD
    for _ in range(count - 1):
        queue.task_done()
    assert queue.unfinished == 1
    joining = in_background(queue.join)
    until_asleep(queue, "joiners")
    queue.task_done()
    joining.result()
    with pytest.raises(ValueError, match="more often"):
        queue.task_done()


def test_many_that_are_queued_may_be_thrown_away() -> None:
    """Their debts go with them, folded or not."""
    queue: Queue[int] = Queue()
    for number in range(5 * FOLD):
        queue.put(number)
    queue.get()
    queue.shutdown(immediate=True)
    assert queue.unfinished == 1


# ------------------------------------------------------------------ staying, and letting go


@pytest.mark.parametrize("module", ["pickle", "cloudpickle"])
@pytest.mark.parametrize("make", [Queue, LifoQueue, PriorityQueue])
def test_it_stays_in_its_process(make: Callable[[], Queue[int]], module: str) -> None:
    """It cannot be pickled, and the error names the queue that can."""
    with pytest.raises(NotPicklable, match=r'Use Queue\(scope="process"\), or backend="thread"'):
        import_module(module).dumps(make())


def test_a_class_of_ones_own_is_for_threads() -> None:
    """Deriving from Queue works there, and is refused for processes by name."""

    class Mine(Queue[int]):
        pass

    queue = Mine(1)
    queue.put(1)
    assert queue.get() == 1
    with pytest.raises(Unsupported, match='Mine has no scope="process"'):
        Mine(scope="process")


@pytest.mark.parametrize("make", [Queue, guarded, LifoQueue])
def test_nothing_is_kept_alive(make: Callable[[int], Queue[Item]]) -> None:
    """What was taken is no one's but the taker's, also while a loop waits for the next item."""
    queue = make(0)
    queue.put(Item())
    looping = iter(queue)
    kept = weakref.ref(next(looping))
    waiting = in_background(next, looping, None)
    until_asleep(queue, "getters")
    gc.collect()
    assert kept() is None
    queue.shutdown()
    assert waiting.result() is None
    gone = weakref.ref(queue)
    del queue, looping, waiting
    gc.collect()
    assert gone() is None


def test_what_is_thrown_away_may_use_the_queue() -> None:
    """An item's end runs after the shutdown, not within it."""
    seen: list[int] = []
    queue: Queue[Any] = Queue()

    class Looks:
        def __del__(self) -> None:
            try:
                queue.get_nowait()
            except ShutDown:
                seen.append(queue.qsize())

    queue.put(Looks())
    queue.shutdown(immediate=True)
    gc.collect()
    assert seen == [0]


def test_the_standard_librarys_names_are_raised() -> None:
    """Code that catches queue.Empty and queue.Full needs no other import."""
    assert Empty is stdlib.Empty
    assert ShutDown is getattr(stdlib, "ShutDown", ShutDown)
