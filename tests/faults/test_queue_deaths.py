"""Processes killed inside each call of a queue, at every line of it.

What is promised: the call took place or did not, and the queue goes on.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import pytest

from tests.support.dying import die, killed_at_line
from tests.support.gates import DEADLINE
from tests.support.queues import drained, inner
from workpool.ipc import bell, chain, robust_lock, segments, shared_queue, taken
from workpool.queues import Queue, ShutDown

fork = multiprocessing.get_context("fork")

# Where a process that changes a queue is killed.
WITHIN = {module.__file__ for module in (segments, taken, chain, shared_queue, bell)}
LARGE = bytes(50_000)  # two do not fit into one segment


pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("arena")]


def make(maxsize: int = 0) -> Queue[Any]:
    return Queue(maxsize, scope="process")


def give_up(queue: Queue[Any]) -> None:
    """Let the next queue have the memory; every process that knew this one has ended."""
    inner(queue)._region.give_back()


def deaths(
    begin: Callable[[], Queue[Any]],
    call: Callable[[Queue[Any]], object],
    before: Callable[[Queue[Any]], object] = lambda _: None,
) -> Generator[Queue[Any]]:
    """Give a queue for each line of a call, in which a process was killed at that line."""
    number = 0
    while True:
        queue = begin()
        if not killed_at_line(
            number, partial(call, queue), files=WITHIN, before=partial(before, queue)
        ):
            give_up(queue)
            break
        yield queue
        works(queue)
        give_up(queue)
        number += 1
    assert number >= 5, "hardly anything was traced"


def works(queue: Queue[Any]) -> None:
    """Everything can be done with the queue, by this process, whatever was done to it before."""
    for item in queue.reclaim():
        queue.put(item)
        queue.task_done()
    while queue.qsize():
        queue.get(timeout=DEADLINE)
        queue.task_done()
    for item in (1, LARGE, LARGE, 2):
        queue.put(item)
    for item in (1, LARGE, LARGE, 2):
        assert queue.get(timeout=DEADLINE) == item
        queue.task_done()
    queue.join(timeout=0)
    assert queue.unfinished == 0


def filled(*items: object) -> Callable[[], Queue[Any]]:
    """Begin with these items."""

    def begin() -> Queue[Any]:
        queue = make()
        for item in items:
            queue.put(item)
        return queue

    return begin


# ------------------------------------------------------------------ at every line


@pytest.mark.parametrize("item", [7, LARGE], ids=["same-segment", "next-segment"])
def test_a_putter_is_killed(item: object) -> None:
    """Its item is in the queue, whole and counted, or is not."""
    outcomes: set[int] = set()
    for queue in deaths(filled(1, LARGE), lambda queue: queue.put(item)):
        count = queue.unfinished
        assert count == queue.qsize()
        assert drained(queue) == [1, LARGE, item][:count]
        outcomes.add(count)
    assert outcomes == {2, 3}


def test_a_putter_is_killed_again_and_again() -> None:
    """What several left half done at the end of a segment is written over."""
    queue = filled(LARGE)()
    number = 0
    while killed_at_line(number, partial(queue.put, LARGE), files=WITHIN):
        number += 3
    items = drained(queue)
    assert len(items) >= 2
    assert all(item == LARGE for item in items)
    works(queue)


def test_a_taker_is_killed() -> None:
    """The item is queued still, or in the dead one's hands, and can be taken over."""
    outcomes: set[int] = set()
    for queue in deaths(filled("a", "b"), lambda queue: inner(queue).get(True, None)):
        assert queue.unfinished == 2
        lost = sum(queue.abandoned().values())
        assert queue.qsize() == 2 - lost
        assert list(queue.reclaim()) == ["a", "b"][:lost]
        assert queue.abandoned() == {}
        for _ in range(lost):
            queue.task_done()
        assert drained(queue) == ["a", "b"][lost:]
        outcomes.add(lost)
    assert outcomes == {0, 1}


def test_a_taker_is_killed_between_segments() -> None:
    """The same where the head goes on in the next segment, and lets go of the one before."""

    def begin() -> Queue[Any]:
        queue = filled(LARGE, b"b" + LARGE, b"c")()
        queue.get()
        queue.task_done()
        return queue

    outcomes: set[int] = set()
    for queue in deaths(begin, lambda queue: inner(queue).get(True, None)):
        lost = sum(queue.abandoned().values())
        assert queue.unfinished == 2
        assert [*queue.reclaim(), *drained(queue)] == [b"b" + LARGE, b"c"]
        if lost:
            queue.task_done()
        outcomes.add(lost)
    assert outcomes == {0, 1}


def test_a_taker_that_frees_a_sleeping_putter_is_killed() -> None:
    """The putter gets the room, at the latest when it looks for itself."""

    def begin() -> Queue[Any]:
        queue = make(1)
        queue.put(1)
        inner(queue)._putters.enlist()  # as if someone slept
        return queue

    for queue in deaths(begin, lambda queue: inner(queue).get(True, None)):
        if queue.qsize():
            queue.get()
            queue.task_done()
        queue.put(2, timeout=DEADLINE)
        assert queue.get() == 2
        queue.task_done()
        for _ in queue.reclaim():
            queue.task_done()
        inner(queue).maxsize = 0  # the next check puts more than one


def test_one_that_marks_its_item_done_is_killed() -> None:
    """The item is done, or still told as the dead one's."""
    outcomes: set[int] = set()

    def begin() -> Queue[Any]:
        queue = filled(1)()
        inner(queue)._joiners.enlist()  # as if someone slept
        return queue

    for queue in deaths(begin, lambda queue: queue.task_done(), before=lambda queue: queue.get()):
        assert queue.qsize() == 0
        assert queue.unfinished == sum(queue.abandoned().values())
        outcomes.add(queue.unfinished)
    assert outcomes == {0, 1}


@pytest.mark.parametrize("immediate", [False, True])
def test_one_that_shuts_down_is_killed(immediate: bool) -> None:
    """The queue is open, or shut down; and it is emptied at once, or runs empty."""
    outcomes: set[tuple[bool, int]] = set()
    number = 0
    while True:
        queue = filled(1, LARGE, LARGE)()
        queue.get()
        killed = killed_at_line(number, partial(queue.shutdown, immediate), files=WITHIN)
        try:
            queue.put(2)
            closed = False
        except ShutDown:
            closed = True
        left = queue.qsize()
        assert queue.unfinished == left + 1
        assert drained(queue) == [LARGE, LARGE, 2][:left]
        queue.task_done()
        queue.join(timeout=0)
        outcomes.add((closed, left))
        give_up(queue)
        if not killed:
            break
        number += 1
    assert outcomes == {(False, 3), (True, 2)} | ({(True, 0)} if immediate else set())


def test_one_that_takes_over_is_killed() -> None:
    """The item is the first dead one's, or the second's, and can be taken over still."""

    def take_and_die(queue: Queue[Any]) -> None:
        queue.get()
        die()

    def begin() -> Queue[Any]:
        queue = filled("x")()
        child = fork.Process(target=take_and_die, args=(queue,))
        child.start()
        child.join(DEADLINE)
        child.close()
        return queue

    for queue in deaths(begin, lambda queue: next(queue.reclaim())):
        assert sum(queue.abandoned().values()) == 1
        assert list(queue.reclaim()) == ["x"]
        queue.task_done()
        queue.join(timeout=0)


@pytest.mark.parametrize("which", ["_head", "_tail"])
def test_one_that_holds_a_lock_is_killed(which: str) -> None:
    """The others go on, on both ends."""
    queue = filled(1)()

    def child() -> None:
        lock = getattr(inner(queue), which)
        assert lock.take() == 0
        die()

    process = fork.Process(target=child)
    process.start()
    process.join(DEADLINE)
    assert process.exitcode == -signal.SIGKILL
    process.close()
    assert queue.get(timeout=DEADLINE) == 1
    queue.task_done()
    works(queue)


def test_both_kinds_of_lock_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no robust mutexes, record locks do the same."""
    monkeypatch.setattr(robust_lock, "_USE_RECORD_LOCKS", True)
    monkeypatch.setattr(shared_queue, "_ORDERED", False)  # and one lock for both ends
    for queue in deaths(filled("a"), lambda queue: [queue.put("b"), inner(queue).get(True, None)]):
        count, lost = queue.unfinished, sum(queue.abandoned().values())
        assert [*queue.reclaim(), *drained(queue)] == ["a", "b"][:count]
        for _ in range(lost):
            queue.task_done()
