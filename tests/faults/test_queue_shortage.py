"""A queue between processes that finds no memory or descriptor, or a lock taken: no item goes astray."""

from __future__ import annotations

import errno
import multiprocessing
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

import pytest

from tests.support.gates import DEADLINE
from tests.support.queues import drained, empty_hands, in_hand, inner, no_memory
from workpool._compat import LINUX
from workpool.errors import TimeLimitExceeded
from workpool.ipc import memory, nameless
from workpool.queues import Queue
from workpool.shared import Array, Counter

fork = multiprocessing.get_context("fork")

LARGE = bytes(50_000)  # two do not fit into one segment

pytestmark = pytest.mark.usefixtures("arena")


@pytest.fixture
def queue() -> Iterator[Queue[Any]]:
    """Give a queue, of which nothing is in hand in the end."""
    made: Queue[Any] = Queue(scope="process")
    yield made
    empty_hands(made)


def crossed(queue: Queue[Any]) -> None:
    """Have the next get go on in another segment, with nothing mapped, and the one before in use."""
    queue.put(LARGE)
    queue.put(b"a" + LARGE)
    assert queue.get() == LARGE
    inner(queue)._segments._chain._mapped.clear()


@pytest.mark.parametrize("maps", [0, 1])
def test_a_get_that_finds_no_memory_loses_nothing(
    queue: Queue[Any], monkeypatch: pytest.MonkeyPatch, maps: int
) -> None:
    """Without memory to look at the item it stays queued; without any to tidy up, the get succeeds."""
    crossed(queue)
    reopen = memory.Region.open

    def open_some(region: memory.Region, start: int, size: int) -> memoryview[int]:
        nonlocal maps
        maps -= 1
        return reopen(region, start, size) if maps >= 0 else no_memory()

    with monkeypatch.context() as broken:
        broken.setattr(memory.Region, "open", open_some)
        if maps:
            assert queue.get() == b"a" + LARGE
        else:
            with pytest.raises(OSError, match="Cannot allocate"):
                queue.get()
    assert queue.qsize() + in_hand(queue) == queue.unfinished == 2
    for _ in range(queue.qsize()):
        assert queue.get() == b"a" + LARGE
    for _ in range(2):
        queue.task_done()
    queue.join(timeout=0)


@pytest.mark.skipif(not LINUX, reason="lent through /proc")
@pytest.mark.leaks_expected(
    "one lock file stays open: to close it would say that this process has ended"
)
@pytest.mark.parametrize("make", [partial(Array, 10), Counter], ids=["array", "counter"])
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        TimeLimitExceeded("task 1 ran too long", time_limit=1.0, task="1"),
    ],
    ids=["descriptors", "time-limit"],
)
def test_an_item_whose_memory_cannot_be_borrowed_just_now_stays(
    queue: Queue[Any],
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[..., Any],
    error: OSError,
) -> None:
    """Without a descriptor for what is shared in it, the get fails with that error, and the next one takes it."""
    sent, leave = fork.Event(), fork.Event()

    def fail(*_: object) -> NoReturn:
        raise error

    def child() -> None:
        thing = make(scope="process")
        queue.put(thing)
        sent.set()
        leave.wait(DEADLINE)

    process = fork.Process(target=child)
    process.start()
    assert sent.wait(DEADLINE)
    with monkeypatch.context() as broken:
        broken.setattr(nameless, "borrow", fail)
        with pytest.raises(type(error)):
            queue.get()
    assert queue.qsize() == queue.unfinished == 1
    assert drained(queue)[0].scope == "process"
    leave.set()
    process.join(DEADLINE)
    process.close()


def test_a_shutdown_that_finds_no_memory_to_tidy_up_is_whole(
    queue: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was queued is gone, and who sleeps in join is told."""
    crossed(queue)
    with monkeypatch.context() as broken:
        broken.setattr(inner(queue)._segments, "sweep", no_memory)
        queue.shutdown(immediate=True)
    assert queue.qsize() == 0
    assert queue.unfinished == 1


def test_a_get_in_the_middle_of_a_put_of_its_thread_returns(queue: Queue[Any]) -> None:
    """A finalizer may get: that it cannot wake a putter, for want of the lock, costs it nothing."""
    shared = inner(queue)
    if shared._tail is shared._head:
        pytest.skip("there is one lock for both ends here")
    queue.put(1)
    shared._putters.enlist()  # as if someone slept
    assert shared._tail.take() == 0
    try:
        assert queue.get() == 1
    finally:
        shared._tail.give()
    queue.task_done()
