"""Shared memory in a signal's handler, in the middle of a call that makes or unpickles something shared, too."""

from __future__ import annotations

import itertools
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.support.gates import in_background
from tests.support.interrupts import at_moment
from tests.support.queues import inner
from workpool import Queue, WouldDeadlock
from workpool.ipc import arenas, nameless, shared_queue
from workpool.ipc.room import Room
from workpool.shared import Counter

pytestmark = pytest.mark.usefixtures("arena")

GRANULE, SMALL = 1 << 20, 1 << 18


def at_each_moment(
    call: Callable[[], object], act: Callable[[], object], begin: Callable[[], object] = int
) -> int:
    """Do something at each moment of a call, which is made anew for each; tell how many there were."""

    def run() -> int:
        for number in itertools.count():
            begin()
            if not at_moment(number, call, lambda _: act()):
                return number
        raise AssertionError

    return in_background(run).result()  # of which a hang is an error


@pytest.fixture
def fd() -> Iterator[int]:
    """Make a file of memory."""
    fd = nameless.make("workpool-test")
    yield fd
    os.close(fd)


@pytest.mark.parametrize("length", [64, 1 << 15, SMALL, SMALL + 64])
@pytest.mark.parametrize("used", [0, GRANULE - 64, (1 << 16) - 64])
def test_no_place_is_found_twice(fd: int, length: int, used: int) -> None:
    """Each has memory behind it, and its own, wherever in the search the handler comes by."""
    number = 0
    while _two_found(Room(fd), fd, length, used, number):
        number += 1
    assert number > 0


def _two_found(room: Room, fd: int, length: int, used: int, number: int) -> bool:
    """Find a place, and another at that moment of the search; False if it has fewer."""
    while used > room._packed:
        room.find(64)
    places: list[tuple[int, int]] = []

    def find() -> None:
        places.append((room.find(length), length))

    reached = at_moment(number, find, lambda _: find())
    places.append((room.reserve(GRANULE), 0))
    places.sort()
    backed = os.fstat(fd).st_size
    for (offset, size), (follower, _) in itertools.pairwise(places):
        assert offset + size <= min(follower, backed), number
    # What comes next in the granule has memory as far as that says.
    assert room._packed <= room._backed <= room._full, number
    assert room._backed <= backed, number
    return reached


def test_a_handler_may_make_something_shared() -> None:
    """In the middle of a making: both are there, and not the same."""
    made: list[Counter] = []

    def make() -> None:
        made.append(Counter(len(made), scope="process"))

    assert at_each_moment(make, make) > 10
    regions: list[Any] = [counter._home for counter in made]
    assert len({home._region.offset for home in regions}) == len(made)


def lent() -> Callable[[], Any]:
    """Lend an arena; each call unpickles it, as if another process had made it."""
    memory, locks = nameless.make("workpool-lent"), nameless.make("workpool-lent.locks")
    return lambda: arenas._find("lent", os.getpid(), memory, locks)


def sent() -> Callable[[], Any]:
    """Send a queue that was not met here; each call unpickles it."""
    queue: Queue[int] = Queue(scope="process")
    data = pickle.dumps(queue)

    def find() -> Any:
        assert queue.qsize() == 0
        return inner(pickle.loads(data))

    shared_queue._known.clear()
    return find


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="lent through /proc")
@pytest.mark.leaks_expected("what is lent stays open")
@pytest.mark.parametrize("make", [lent, sent])
def test_a_handler_may_unpickle_what_is_being_unpickled(
    make: Callable[[], Callable[[], Any]],
) -> None:
    """It is one object in this process, whoever comes first; or the handler is told that this cannot be now."""
    find = make()
    both: list[Any] = []

    def find_one() -> None:
        both.append(find())

    def handle() -> None:
        with suppress(WouldDeadlock):
            find_one()

    def begin() -> None:
        assert len(set(both)) <= 1
        both.clear()
        shared_queue._known.clear()

    assert at_each_moment(find_one, handle, begin) > 5
    assert len(both) == 1
