"""The queues with another order than first in, first out, and comparisons that fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from workpool.queues import LifoQueue, PriorityQueue


def test_the_last_one_comes_first() -> None:
    """A LifoQueue is a stack."""
    queue: LifoQueue[int] = LifoQueue()
    for number in range(3):
        queue.put(number)
    queue.shutdown()
    assert list(queue) == [2, 1, 0]


def test_the_smallest_one_comes_first() -> None:
    """A PriorityQueue compares items."""
    queue: PriorityQueue[tuple[int, str]] = PriorityQueue()
    for item in ((2, "b"), (3, "c"), (1, "a")):
        queue.put(item)
    queue.shutdown()
    assert list(queue) == [(1, "a"), (2, "b"), (3, "c")]


def test_an_item_that_cannot_be_compared_is_refused() -> None:
    """The put fails, and the queue is as it was."""
    queue: PriorityQueue[Any] = PriorityQueue()
    for number in (5, 3, 4, 1):
        queue.put(number)
    with pytest.raises(TypeError):
        queue.put("two")
    assert queue.qsize() == queue.unfinished == 4
    assert [queue.get() for _ in range(4)] == [1, 3, 4, 5]


def left_as_it_was(queue: PriorityQueue[Any], call: Callable[[], object]) -> bool:
    """Make a call; if a comparison of it fails, see that the queue is what it was."""
    before = list(queue._items)
    try:
        call()
    except TypeError:
        assert [id(item) for item in queue._items] == [id(item) for item in before]
        assert queue.unfinished >= queue.qsize()
        return True
    return False


@pytest.mark.parametrize("seed", range(20))
def test_a_comparison_that_fails_anywhere_changes_nothing(seed: int) -> None:
    """Whichever comparison of a put or a get fails, the heap is as before, item by item."""
    chance = random.Random(seed)
    left = 10**6

    class Fails(int):
        def __lt__(self, other: int) -> bool:
            nonlocal left
            left -= 1
            if left == -1:
                raise TypeError
            return int(self) < int(other)

    queue: PriorityQueue[Any] = PriorityQueue()
    for _ in range(chance.randrange(2, 30)):
        queue.put(Fails(chance.randrange(20)))
    for call in (queue.get, lambda: queue.put(Fails(chance.randrange(20)))):
        fails = 0
        left = 0
        while left_as_it_was(queue, call):
            fails += 1
            left = fails
    left = 10**6
    queue.shutdown()
    items = [int(item) for item in queue]
    assert items == sorted(items)
    assert queue.unfinished == 1  # what the first get took


def test_a_get_that_cannot_compare_loses_nothing() -> None:
    """Two that were not compared before turn out not to be comparable: the get fails, and the queue is whole."""
    queue: PriorityQueue[Any] = PriorityQueue()
    items = [(1, "first"), (2, {"a": 1}), (2, {"b": 1})]
    for item in items:
        queue.put(item)
    with pytest.raises(TypeError):
        queue.get()
    assert queue.qsize() == queue.unfinished == 3
    assert sorted(queue._items, key=str) == items
    queue.shutdown(immediate=True)
    queue.join(timeout=0)


def test_one_object_that_is_put_twice_is_there_twice() -> None:
    """After a comparison has failed all items are there, and come in their order."""
    fails = False

    class Fails(int):
        def __lt__(self, other: int) -> bool:
            nonlocal fails
            if fails:
                fails = False
                raise TypeError
            return int(self) < int(other)

    same = Fails(5)
    queue: PriorityQueue[Any] = PriorityQueue()
    for item in (Fails(1), same, Fails(2), same, Fails(7), Fails(3), same):
        queue.put(item)
    fails = True
    with pytest.raises(TypeError):
        queue.get()
    assert [int(queue.get()) for _ in range(7)] == [1, 2, 3, 5, 5, 5, 7]
