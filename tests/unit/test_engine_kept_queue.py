"""What the queue in an engine's place does when those who use it end, or are interrupted: no item is lost."""

from __future__ import annotations

import asyncio

from tests.support.places import Caller, story


async def put(caller: Caller, queue: int, *items: bytes) -> None:
    for item in items:
        assert await caller.ask(queue, "put", item, 0.0) == "put"


@story
async def test_items_of_the_dead_can_be_taken_over(ann: Caller, bob: Caller, cid: Caller) -> None:
    """What a life had taken and not marked is told by its process, ends a join, and waits for others."""
    queue = await ann.make("queue", 0)
    await put(ann, queue, b"1", b"2", b"3")
    assert await bob.ask(queue, "get", None, 1) == b"1"
    assert await bob.another_thread().ask(queue, "get", None, 1) == b"2"
    assert await bob.ask(queue, "get", None, 2) == b"3"
    assert await bob.ask(queue, "task_done")
    joined = await ann.waits(queue, "join", None)
    bob.end()
    left = {ord("b"): 2}
    assert await joined == (0, 2, left)
    assert await ann.ask(queue, "abandoned") == left
    assert sorted([await cid.ask(queue, "take_over") for _ in range(2)]) == [b"2", b"3"]
    assert await cid.ask(queue, "take_over") is None
    joined = await ann.waits(queue, "join", None)
    assert await cid.ask(queue, "task_done")
    assert await cid.ask(queue, "task_done")
    assert await joined == (0, 0, {})
    assert not await cid.ask(queue, "task_done")


@story
async def test_the_dead_neither_take_nor_put(ann: Caller, bob: Caller, cid: Caller) -> None:
    """Who ended while it waited for an item gets none, and what it waited to put is not put."""
    queue = await ann.make("queue", 1)
    first, second = await bob.waits(queue, "get", None, 1), await cid.waits(queue, "get", None, 1)
    bob.end()
    await put(ann, queue, b"for cid")
    assert await second == b"for cid"
    assert await first == "empty"
    await put(ann, queue, b"full")
    putting = await bob.waits(queue, "put", b"never", None)
    bob.end()
    assert await putting == "full"
    assert await cid.ask(queue, "get", None, 2) == b"full"
    assert await cid.ask(queue, "get", 0.0, 3) == "empty"


@story
async def test_an_interrupted_get_loses_no_item(ann: Caller, bob: Caller, cid: Caller) -> None:
    """Undone while it waits it takes nothing; undone with an item, that is the next to be taken."""
    queue = await ann.make("queue", 0)
    waiting = await bob.waits(queue, "get", None, 1)
    await bob.ask(queue, "undo", 1)
    assert await waiting == "empty"
    await put(ann, queue, b"kept", b"on its way", b"next")
    assert await bob.ask(queue, "get", None, 2) == b"kept"
    assert await bob.ask(queue, "get", None, 3) == b"on its way"
    await bob.ask(queue, "undo", 3)
    await bob.ask(queue, "undo", 4)  # which had got nothing
    assert await cid.ask(queue, "get", None, 1) == b"on its way"
    assert await cid.ask(queue, "get", None, 2) == b"next"
    waiting = await ann.waits(queue, "get", None, 1)
    await cid.ask(queue, "undo", 2)
    assert await waiting == b"next"
    for caller in (ann, bob, cid):
        assert await caller.ask(queue, "task_done")
    assert await ann.ask(queue, "state") == (0, 0, False)


@story
async def test_an_interrupted_put_puts_nothing(ann: Caller, bob: Caller, cid: Caller) -> None:
    """Undone while it waits for room, its item never gets into the queue."""
    queue = await ann.make("queue", 1)
    await put(ann, queue, b"full")
    given_up, waiting = (
        await bob.waits(queue, "put", b"never", None),
        await cid.waits(queue, "put", b"later", None),
    )
    await bob.ask(queue, "undo")
    assert await given_up == "full"
    assert await ann.ask(queue, "get", None, 1) == b"full"
    assert await waiting == "put"
    assert await ann.ask(queue, "get", None, 2) == b"later"
    assert await ann.ask(queue, "state") == (0, 2, False)


@story
async def test_a_call_that_is_cancelled_takes_nothing(
    ann: Caller, bob: Caller, cid: Caller
) -> None:
    """When the loop gives up a call that waits, nothing is handed to it."""
    queue = await ann.make("queue", 0)
    waiting = await bob.waits(queue, "get", None, 1)
    waiting.cancel()
    await asyncio.wait([waiting])
    await put(ann, queue, b"for cid")
    assert await cid.ask(queue, "get", 0.0, 1) == b"for cid"


@story
async def test_a_queue_that_is_shut_down_wakes_all(ann: Caller, bob: Caller, cid: Caller) -> None:
    """Who waits to put or to get is told; what is queued can be taken, and nothing can be put."""
    queue = await ann.make("queue", 1)
    getting = await bob.waits(queue, "get", None, 1)
    await ann.ask(queue, "close", False)
    assert await getting == "closed"
    queue = await ann.make("queue", 1)
    await put(ann, queue, b"last")
    putting = await bob.waits(queue, "put", b"never", None)
    await ann.ask(queue, "close", False)
    assert await putting == "closed"
    assert await cid.ask(queue, "put", b"never", None) == "closed"
    assert await cid.ask(queue, "get", None, 1) == b"last"
    assert await cid.ask(queue, "get", None, 2) == "closed"


@story
async def test_what_is_thrown_away_is_done(ann: Caller, bob: Caller, cid: Caller) -> None:
    """An immediate end of the queue counts what was queued as done; what is taken is still to be marked."""
    queue = await ann.make("queue", 0)
    await put(ann, queue, b"taken", b"queued")
    assert await bob.ask(queue, "get", None, 1) == b"taken"
    joined = await cid.waits(queue, "join", None)
    await ann.ask(queue, "close", True)
    assert await ann.ask(queue, "state") == (0, 1, True)
    assert await ann.ask(queue, "join", 0.0) == (0, 1, {})
    assert await bob.ask(queue, "task_done")
    assert await joined == (0, 0, {})


@story
async def test_a_thread_marks_its_own_items_first(ann: Caller, bob: Caller, cid: Caller) -> None:
    """task_done marks what this thread took, else what its process took, and nobody else's."""
    queue = await ann.make("queue", 0)
    await put(ann, queue, b"1", b"2")
    assert await bob.ask(queue, "get", None, 1) == b"1"
    helper = bob.another_thread()
    assert not await cid.ask(queue, "task_done")
    assert await helper.ask(queue, "get", None, 1) == b"2"
    assert await helper.ask(queue, "task_done")
    assert await helper.ask(queue, "task_done")
    assert not await bob.ask(queue, "task_done")
    await cid.ask(queue, "drop")  # it has nothing
    await ann.ask(queue, "join", None)
