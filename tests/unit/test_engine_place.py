"""What the place of an engine does when those who use it end, or are interrupted: it frees, forgets and hands on.

The contract suite runs the calls themselves.
"""

from __future__ import annotations

import pytest

from tests.support.places import Caller, settled, story
from workpool import SharedStateLost

# ------------------------------------------------------------------------------- lock


@story
async def test_a_lock_goes_from_the_dead_to_the_next(ann: Caller, bob: Caller, cid: Caller) -> None:
    """Who waits longest gets the lock of a life that ended, and is told; the one after that is not."""
    lock = await ann.make("lock")
    assert await ann.ask(lock, "acquire", None)
    second, third = await bob.waits(lock, "acquire", None), await cid.waits(lock, "acquire", None)
    ann.end()
    assert await second
    assert await bob.ask(lock, "owner_died")
    await bob.ask(lock, "release")
    assert await third
    assert not await cid.ask(lock, "owner_died")


@story
async def test_the_dead_wait_for_no_lock(ann: Caller, bob: Caller, cid: Caller) -> None:
    """A life that ends while it waits is passed over."""
    lock = await ann.make("lock")
    await ann.ask(lock, "acquire", None)
    second, third = await bob.waits(lock, "acquire", None), await cid.waits(lock, "acquire", 9.0)
    bob.end()
    await ann.ask(lock, "release")
    assert await third
    assert not await second
    with pytest.raises(RuntimeError, match="did not acquire"):
        await bob.ask(lock, "release")


@story
async def test_an_interrupted_acquire_owns_nothing(ann: Caller, bob: Caller, cid: Caller) -> None:
    """Undone while it waits or just afterwards, it leaves the lock to others; nobody else's is touched."""
    lock = await ann.make("lock")
    await ann.ask(lock, "acquire", None)
    waiting = await bob.waits(lock, "acquire", None)
    await bob.ask(lock, "undo")
    assert not await waiting
    await bob.ask(lock, "undo")  # which had got nothing
    assert not await cid.ask(lock, "acquire", 0)
    await ann.ask(lock, "undo")
    assert await cid.ask(lock, "acquire", 0)


# ------------------------------------------------------------------------------ value


@pytest.mark.parametrize("how", ["undo", "end"])
def test_a_set_that_was_given_up_changes_nothing(how: str) -> None:
    """Who is interrupted or dies while another has the value open has not replaced it."""

    @story
    async def told(ann: Caller, bob: Caller, cid: Caller) -> None:
        value = await ann.make("value", b"old")
        assert await ann.ask(value, "open", None) == b"old"
        await bob.waits(value, "set", b"new")
        if how == "undo":
            await bob.ask(value, "undo")
        else:
            bob.end()
        await settled()
        await ann.ask(value, "release")
        assert await cid.ask(value, "get") == b"old"

    told()


@story
async def test_only_what_is_open_is_committed(ann: Caller, bob: Caller, cid: Caller) -> None:
    """A commit from where the value is not open is refused, also when another has it open."""
    value = await ann.make("value", b"old")
    with pytest.raises(RuntimeError, match="not open"):
        await ann.ask(value, "commit", b"new")
    await bob.ask(value, "open", None)
    with pytest.raises(RuntimeError, match="not open"):
        await ann.ask(value, "commit", b"new")
    assert await cid.ask(value, "open", 0) is None
    await bob.ask(value, "commit", b"bob's")
    await bob.ask(value, "release")
    assert await cid.ask(value, "get") == b"bob's"


@story
async def test_a_value_that_was_open_in_the_dead_is_the_old_one(
    ann: Caller, bob: Caller, cid: Caller
) -> None:
    """A life that ends with the value open leaves it as it was, and those who wait get it."""
    value = await ann.make("value", b"old")
    await ann.ask(value, "open", None)
    reads, writes = await bob.waits(value, "get"), await cid.waits(value, "set", b"new")
    ann.end()
    assert await reads == b"old"
    await writes
    assert await bob.ask(value, "get") == b"new"


# -------------------------------------------------------------------------- semaphore


@story
async def test_permits_of_the_dead_come_back(ann: Caller, bob: Caller, cid: Caller) -> None:
    """All that a life had is free again, and those who wait get it, but for the dead among them."""
    semaphore = await ann.make("semaphore", 2)
    assert await ann.ask(semaphore, "acquire", 0)
    assert await ann.another_thread().ask(semaphore, "acquire", 0)
    second, third = (
        await bob.waits(semaphore, "acquire", None),
        await cid.waits(semaphore, "acquire", None),
    )
    bob.end()
    ann.end()
    assert await third
    assert not await second
    assert await cid.ask(semaphore, "free") == 1
    cid.end()
    assert await ann.ask(semaphore, "free") == 2


@story
async def test_permits_can_be_brought_back_for_another(
    ann: Caller, bob: Caller, cid: Caller
) -> None:
    """A release takes one's own permits first, then others'; more than are out is refused whole."""
    semaphore = await ann.make("semaphore", 3)
    for caller in (ann, bob, bob):
        await caller.ask(semaphore, "acquire", None)
    with pytest.raises(ValueError, match="4 permits"):
        await ann.ask(semaphore, "release", 4)
    assert await cid.ask(semaphore, "free") == 0
    await ann.ask(semaphore, "release", 2)
    assert await cid.ask(semaphore, "free") == 2
    bob.end()  # with the one that is left
    assert await cid.ask(semaphore, "free") == 3


@story
async def test_an_interrupted_acquire_takes_no_permit(
    ann: Caller, bob: Caller, cid: Caller
) -> None:
    """Undone while it waits or just afterwards, all permits are there for others."""
    semaphore = await ann.make("semaphore", 1)
    await ann.ask(semaphore, "acquire", None)
    waiting = await bob.waits(semaphore, "acquire", None)
    await bob.ask(semaphore, "undo")
    assert not await waiting
    await bob.ask(semaphore, "undo")
    assert await cid.ask(semaphore, "free") == 0
    await ann.ask(semaphore, "undo")
    assert await cid.ask(semaphore, "free") == 1


# ------------------------------------------------------------------------------ event


@story
async def test_the_dead_are_woken_by_no_event(ann: Caller, bob: Caller, cid: Caller) -> None:
    """Who ended while it waited is forgotten; the others are woken all at once."""
    event = await ann.make("event")
    waiting = [await caller.waits(event, "wait", None) for caller in (ann, bob, cid)]
    bob.end()
    await ann.ask(event, "set")
    assert [await each for each in waiting] == [True, False, True]
    assert await bob.ask(event, "is_set")
    await ann.ask(event, "clear")
    assert not await bob.ask(event, "wait", 0.0)


# ------------------------------------------------------------------------- rate limit


@pytest.mark.parametrize("how", ["undo", "end"])
def test_who_leaves_the_line_lets_the_next_one_come(how: str) -> None:
    """The first of the line gives up: it takes no call, and the next in line looks at the clock."""

    @story
    async def told(ann: Caller, bob: Caller, cid: Caller) -> None:
        limit = await ann.make("rate limit", 1, 50_000_000)  # one call in 50 ms
        assert await ann.ask(limit, "acquire", None)
        assert await ann.ask(limit, "free") == 0
        first, second = (
            await bob.waits(limit, "acquire", None),
            await cid.waits(limit, "acquire", None),
        )
        if how == "undo":
            await bob.ask(limit, "undo")
        else:
            bob.end()
        assert not await first
        assert await second

    told()


# ------------------------------------------------------------------------------- place


@story
async def test_what_is_no_more_says_so(ann: Caller, bob: Caller, cid: Caller) -> None:
    """A call of a thing that the place does not know is an error that tells why."""
    with pytest.raises(SharedStateLost, match="the pool that made it has ended"):
        await ann.ask(7, "get")


@story
async def test_a_number_is_nobodys(ann: Caller, bob: Caller, cid: Caller) -> None:
    """What a life added to a counter stays when it ends; a sum beyond 64 bits changes nothing."""
    counter = await ann.make("counter", 2**63 - 2)
    assert await bob.ask(counter, "add", 1) == 2**63 - 1
    bob.end()
    with pytest.raises(OverflowError):
        await ann.ask(counter, "add", 1)
    with pytest.raises(OverflowError):
        await ann.ask(counter, "compare_and_set", 0, 2**63)
    with pytest.raises(OverflowError):
        await ann.make("counter", 2**63)
    assert await ann.ask(counter, "get") == 2**63 - 1
