"""The end of a join between processes: told at once by the last task_done, and cheap for those before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.gates import DEADLINE, in_background
from tests.support.queues import empty_hands, inner, until_asleep
from workpool.errors import JoinTimeout
from workpool.ipc import bell, joiners
from workpool.queues import Queue

pytestmark = pytest.mark.usefixtures("arena")


@pytest.fixture
def queue() -> Iterator[Queue[Any]]:
    made: Queue[Any] = Queue(scope="process")
    yield made
    empty_hands(made)


@pytest.fixture
def count_searches(queue: Queue[Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Give the number of searches for what is not done, so far."""
    searches = 0
    newest = inner(queue)._segments.newest

    def counted() -> tuple[memoryview[int], int] | None:
        nonlocal searches
        searches += 1
        return newest()

    monkeypatch.setattr(inner(queue)._segments, "newest", counted)
    return lambda: searches


def in_hand(queue: Queue[Any], count: int) -> None:
    """Take so many items."""
    for number in range(count):
        queue.put(number)
        queue.get()


def test_who_joins_is_woken_by_the_last_one(
    queue: Queue[Any], count_searches: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, not when it looks for itself; and what is done before costs no search for what is left."""
    monkeypatch.setattr(joiners, "SPARED", DEADLINE)
    monkeypatch.setattr(bell, "LOOK", 10 * DEADLINE)
    in_hand(queue, 500)
    joining = in_background(queue.join)
    until_asleep(queue, "joiners")
    for _ in range(499):
        queue.task_done()
    assert not joining.ended
    assert count_searches() == 1
    queue.task_done()
    joining.result()
    assert count_searches() == 2
    queue.join(timeout=0)


def test_what_is_remembered_as_not_done_is_searched_for_again(
    queue: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be done and its memory another's: then what stands there is not believed for long."""
    monkeypatch.setattr(joiners, "SPARED", 0.0)
    monkeypatch.setattr(bell, "LOOK", 10 * DEADLINE)
    in_hand(queue, 3)
    joining = in_background(queue.join)
    until_asleep(queue, "joiners")
    queue.task_done()
    undone = inner(queue)._joiners._undone
    assert undone is not None
    queue.task_done()
    inner(queue)._joiners._undone = (memoryview(b"\1"), 0, undone[2])
    queue.task_done()
    joining.result()


def test_a_join_that_only_looks_leaves_nobody_to_be_woken(
    queue: Queue[Any], count_searches: Callable[[], int]
) -> None:
    """Asked again and again whether all is done, a queue does not have each task_done search."""
    in_hand(queue, 3)
    with pytest.raises(JoinTimeout):
        queue.join(timeout=0)
    for _ in range(3):
        queue.task_done()
    assert count_searches() == 0


def test_who_joins_as_the_last_one_is_done_does_not_sleep(
    queue: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last item is marked between the first look and the moment from which on one is told: it looks again."""
    queue.put(1)
    queue.get()
    bells = inner(queue)._joiners
    enlist = bells.enlist
    sleeps: list[int] = []
    last = [queue.task_done]

    def done_before() -> int:
        if last:
            last.pop()()
        return enlist()

    monkeypatch.setattr(bells, "enlist", done_before)
    monkeypatch.setattr(bells, "wait", lambda seen, _: sleeps.append(seen))
    queue.join(timeout=DEADLINE)
    assert not sleeps
