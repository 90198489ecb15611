"""The queue between threads at every moment of a call: struck by an exception, or used by a signal's handler.

What is promised: nobody sleeps on beside what it waits for, and no count is wrong.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from tests.support.backends import Kind
from tests.support.gates import DEADLINE, in_background
from tests.support.interrupts import at_moment, interrupted_at
from tests.support.queues import guarded, until, until_asleep
from tests.support.scripts import printed_by
from workpool import WouldDeadlock, waits
from workpool.queues import Empty, LifoQueue, PriorityQueue, Queue, ShutDown, sleepers

Make = Callable[[int], Queue[Any]]

every_kind = pytest.mark.parametrize("make", [Queue, guarded, LifoQueue, PriorityQueue])
every_fifo = pytest.mark.parametrize("make", [Queue, guarded])


class Struck(BaseException):
    """What strikes a thread from outside."""


# ------------------------------------------------------------------ struck by an exception


@every_kind
def test_a_get_struck_anywhere_leaves_no_putter_asleep(make: Make) -> None:
    """The item is in the queue still; or it is out, and whoever waits for its room has it."""
    number = 0
    struck = True
    while struck:
        queue = make(1)
        queue.put(1)
        putting = in_background(queue.put, 2)
        until_asleep(queue, "putters")
        struck = interrupted_at(number, queue.get)
        assert queue.get(timeout=DEADLINE) in {1, 2}, number
        putting.result()
        assert queue.unfinished == 2, number
        number += 1
    assert number > 2


@every_kind
@pytest.mark.parametrize("maxsize", [0, 5])
def test_a_put_struck_anywhere_leaves_no_getter_asleep(make: Make, maxsize: int) -> None:
    """The item is not in; or it is, and whoever waits for it has it."""
    number = 0
    struck = True
    while struck:
        queue = make(maxsize)
        getting = in_background(queue.get)
        until_asleep(queue, "getters")
        struck = interrupted_at(number, partial(queue.put, 1))
        if not queue.unfinished:
            queue.put(1)
        assert getting.result() == 1, number
        assert queue.unfinished == 1, number
        number += 1
    assert number > 3


@every_kind
def test_a_task_done_struck_anywhere_leaves_no_joiner_asleep(make: Make) -> None:
    """The item is not done, and may be marked again; or it is, and join returns."""
    number = 0
    struck = True
    while struck:
        queue = make(0)
        queue.put(1)
        queue.get()
        joining = in_background(queue.join)
        until_asleep(queue, "joiners")
        struck = interrupted_at(number, queue.task_done)
        if queue.unfinished:
            queue.task_done()
        joining.result()
        number += 1
    assert number > 2


@every_kind
def test_a_shutdown_struck_anywhere_counts_what_it_throws_away(make: Make) -> None:
    """What is in the queue is unfinished, and nothing else; who joins is told."""
    number = 0
    struck = True
    while struck:
        queue = make(0)
        for item in range(3):
            queue.put(item)
        joining = in_background(queue.join)
        until_asleep(queue, "joiners")
        struck = interrupted_at(number, partial(queue.shutdown, immediate=True))
        assert queue.unfinished == queue.qsize() == (0 if queue.is_shutdown else 3), number
        queue.shutdown(immediate=True)
        joining.result()
        number += 1
    assert number > 3


def test_a_getter_struck_between_two_looks_hands_its_call_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who was roused, and is struck before it looks again, leaves the item to the next one."""
    queue: Queue[int] = Queue()
    mine: list[int] = []
    begun = threading.Event()  # ``first`` has a name

    def make_sleeper(make: Callable[[], Any] = waits.make_sleeper) -> Any:
        if threading.current_thread() is first.thread:
            mine.append(1)
            if len(mine) == 2:  # once more round the loop
                raise Struck
        return make()

    monkeypatch.setattr(sleepers, "make_sleeper", make_sleeper)
    first = in_background(lambda: [begun.wait(DEADLINE), queue.get()])
    begun.set()
    until_asleep(queue, "getters")
    second = in_background(queue.get)
    until(lambda: len(queue._getters) == 2)
    queue.put(7)
    with pytest.raises(Struck):
        first.result()
    assert second.result() == 7


# ------------------------------------------------------------------ used by a handler


@every_fifo
def test_a_handler_may_put_at_any_moment_of_a_get(make: Make) -> None:
    """Its item is in the queue, and no one sleeps beside it: neither this thread nor another."""
    number = 0
    struck = True
    while struck:
        queue = make(0)
        other = in_background(queue.get)
        until_asleep(queue, "getters")
        got: list[Any] = []

        def get(queue: Queue[Any] = queue, got: list[Any] = got) -> None:
            with suppress(Empty):
                got.append(queue.get(timeout=0.0))

        def handler(_: object, queue: Queue[Any] = queue) -> None:
            queue.put("signal")

        struck = in_background(at_moment, number, get, handler).result()
        if got or not struck:
            queue.put("end")
        assert [*got, other.result()] == (
            ["signal", "end"] if got else ["signal" if struck else "end"]
        ), number
        number += 1
    assert number > 5


@every_fifo
def test_a_handler_may_shut_down_at_any_moment_of_a_put(make: Make) -> None:
    """The put came first, or is refused: nothing gets in afterwards, and all is counted."""
    number = 0
    struck = True
    while struck:
        queue = make(0)
        refused: list[ShutDown] = []

        def put(queue: Queue[Any] = queue, refused: list[ShutDown] = refused) -> None:
            try:
                queue.put(1)
            except ShutDown as error:
                refused.append(error)

        def handler(_: object, queue: Queue[Any] = queue) -> None:
            queue.shutdown(immediate=True)

        struck = in_background(at_moment, number, put, handler).result()
        if struck:
            assert queue.qsize() == queue.unfinished == 0, number
        number += 1
    assert number > 2


@every_fifo
def test_a_handler_that_would_wait_for_its_own_thread_is_told(make: Make) -> None:
    """A get in the middle of a get of an empty queue could never end: it is refused."""
    number = told = 0
    struck = True
    while struck:
        queue = make(0)
        errors: list[WouldDeadlock] = []

        def get(queue: Queue[Any] = queue) -> None:
            with pytest.raises(Empty):
                queue.get(timeout=0.0)

        def handler(
            _: object, queue: Queue[Any] = queue, errors: list[WouldDeadlock] = errors
        ) -> None:
            if queue._lock._is_owned():
                try:
                    queue.get()
                except WouldDeadlock as error:
                    errors.append(error)

        struck = in_background(at_moment, number, get, handler).result()
        told += len(errors)
        assert not queue._getters, number
        number += 1
    assert told > 0


def test_a_comparison_that_uses_its_queue_is_told() -> None:
    """A put or a get in the middle of a comparison is refused, and nothing is lost."""
    queue: PriorityQueue[Any] = PriorityQueue()
    told: list[WouldDeadlock] = []

    class Calls(int):
        def __lt__(self, other: int) -> bool:
            for call in (queue.get_nowait, partial(queue.put, Calls(9))):
                with pytest.raises(WouldDeadlock) as caught:
                    call()
                told.append(caught.value)
            return int(self) < int(other)

    for number in (3, 1, 2, 0):
        queue.put(Calls(number))
    assert [int(queue.get()) for _ in range(4)] == [0, 1, 2, 3]
    assert told
    assert queue.unfinished == 4


# ------------------------------------------------------------------ forked


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("who", ["getters", "putters", "joiners"])
def test_a_forked_child_does_not_wake_its_parents_sleepers(who: str) -> None:
    """A thread of the parent slept in a call; the child's own thread is woken in the same call."""
    script = f"""
    import os, threading, warnings
    from tests.support.gates import in_background
    from tests.support.queues import until, until_asleep
    from workpool import Queue
    warnings.simplefilter("ignore")
    queue = Queue(1)
    who = {who!r}
    if who != "getters":
        queue.put(1)
    call = dict(getters=queue.get, putters=lambda: queue.put(2), joiners=queue.join)[who]
    wake = dict(getters=lambda: queue.put(3), putters=queue.get, joiners=queue.task_done)[who]
    threading.Thread(target=call, daemon=True).start()
    until_asleep(queue, who)
    asleep = getattr(queue, "_" + who)
    (stale,) = asleep
    if os.fork() == 0:
        code = 1
        try:
            waiting = in_background(call)
            until(lambda: bool(asleep) and asleep[-1] is not stale)
            wake()
            waiting.result(5)
            code = 0
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
    wake()
    """
    assert printed_by(Kind("process", frozenset()), script) == ["0"]
