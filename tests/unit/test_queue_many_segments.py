"""Segments of records, where there are many: what each costs does not grow with their number."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.dying import die
from tests.support.gates import DEADLINE
from tests.support.queues import empty_hands
from tests.unit.test_queue_segments import UNIT, chain_of, make_region, put, take, take_done
from workpool.ipc import chain
from workpool.ipc.chain import CELLS, Chain
from workpool.ipc.memory import Region
from workpool.ipc.segments import Segments
from workpool.ipc.taken import Record
from workpool.queues import Queue

pytestmark = pytest.mark.usefixtures("arena")


@pytest.fixture
def region() -> Iterator[Region]:
    region = make_region()
    yield region
    region.give_back()


def test_a_large_record_costs_the_same_however_many_there_are(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a segment of its own; to put it, or to take it while none is done, looks at a few of the others."""
    segments = Segments(region, 0, fresh=True)
    count = 300
    looks = maps = 0
    monkeypatch.setattr(chain, "_MOST_UNITS", 1)
    entry, reopen = Chain._entry, Region.open

    def counted_entry(self: Chain, unit: int) -> Any:
        nonlocal looks
        looks += 1
        return entry(self, unit)

    def counted_open(region: Region, start: int, size: int) -> memoryview[int]:
        nonlocal maps
        maps += 1
        return reopen(region, start, size)

    monkeypatch.setattr(Chain, "_entry", counted_entry)
    monkeypatch.setattr(Region, "open", counted_open)
    for _ in range(count):
        put(segments, bytes(UNIT))
    assert len(chain_of(segments)) >= count
    for _ in range(count):
        take(segments)
    assert looks < 20 * count
    assert maps < 10 * count


def test_what_many_have_done_is_let_go(region: Region) -> None:
    """The look for what can go comes as late as there were many; but it comes."""
    segments = Segments(region, 0, fresh=True)
    records: list[Record] = []
    for _ in range(100):
        put(segments, bytes(UNIT))
        records.append(take(segments))
    for _, places, place in records:
        places[place] = 0
    for _ in range(100):
        put(segments, bytes(UNIT))
        take_done(segments)
    assert len(chain_of(segments)) < 10


def test_what_is_free_is_used_again(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of some length that goes on for ever takes no more and no more of its reserve."""
    segments = Segments(region, 0, fresh=True)
    monkeypatch.setattr(chain, "_MOST_UNITS", 1)
    queued: deque[bytes] = deque()
    furthest = first = chain_of(segments)[0].start // CELLS
    for number in range(3000):
        data = number.to_bytes(2, "big") * (UNIT // 2)
        put(segments, data)
        queued.append(data)
        if len(queued) > 20:
            assert take_done(segments) == queued.popleft()
        furthest = max(furthest, chain_of(segments)[-1].end // CELLS)
    assert furthest - first < 4 * len(chain_of(segments)) * 2


def test_what_is_reclaimed_is_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """To take over what a dead process had costs the same for each item, however many there are."""
    count = 200
    queue: Queue[int] = Queue(scope="process")
    for number in range(count):
        queue.put(number)
    own = [queue.get() for _ in range(count // 2)]  # of a living one, and before them

    def take() -> None:
        for _ in range(count - len(own)):
            queue.get()
        die()

    process = multiprocessing.get_context("fork").Process(target=take)
    process.start()
    process.join(DEADLINE)
    assert process.exitcode == -signal.SIGKILL
    process.close()
    looks = 0
    taker = Segments.taker

    def counted(record: Record) -> tuple[int, int] | None:
        nonlocal looks
        looks += 1
        return taker(record)

    monkeypatch.setattr(Segments, "taker", staticmethod(counted))
    assert list(queue.reclaim()) == list(range(len(own), count))
    assert looks < 4 * count
    for _ in range(count):
        queue.task_done()
    queue.join(timeout=0)
    empty_hands(queue)
