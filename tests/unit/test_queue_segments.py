"""Records in segments: bounds that change under a mapping, memory that comes and goes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from tests.support.queues import inner
from workpool.errors import SharedStateLost
from workpool.ipc import lives, memory
from workpool.ipc.chain import Segment
from workpool.ipc.memory import Region
from workpool.ipc.segments import _HEAD, _TAIL, BASE_SIZE, RESERVE, Segments, _first_record
from workpool.ipc.taken import Mark, Record
from workpool.queues import Queue

UNIT = 1 << 16
OURS, PID = 1 << 61, 4711


pytestmark = pytest.mark.usefixtures("arena")


def make_region(reserve: int = RESERVE) -> Region:
    return memory.allocate(BASE_SIZE, spare=min(reserve, memory.SPARE_LIMIT))


@pytest.fixture
def region() -> Iterator[Region]:
    region = make_region()
    yield region
    region.give_back()


def put(segments: Segments, payload: bytes) -> None:
    while not segments.append(payload):
        segments.prepare(len(payload))


def take(segments: Segments) -> Record:
    held: deque[Mark] = deque()
    payload = segments.take(OURS, PID, held)
    assert payload is not None
    ((places, place, done),) = held
    assert done == 0
    return payload, places, place


def take_done(segments: Segments) -> bytes:
    """Take a record, mark it done, and give its payload."""
    payload, places, place = take(segments)
    data = bytes(payload)
    places[place] = 0
    return data


def chain_of(segments: Segments) -> list[Segment]:
    """List the segments."""
    tail = segments._words[_TAIL] & 0x7FFFFFFF
    found = [segments._chain.oldest()]
    while not found[-1].start <= tail < found[-1].end:
        found.append(segments._chain.behind(found[-1]))
    return found


def give_up_the_long_one(segments: Segments) -> None:
    """Let a segment go, and then make one that it is too short for; its memory is free for short ones."""
    for units in (9, 12):
        put(segments, b"L" * units * UNIT)
        assert len(take_done(segments)) == units * UNIT


def backed(region: Region) -> int:
    """Count the bytes of the arena that have memory behind them."""
    return os.fstat(region.arena.memory_fd).st_blocks * 512


def test_one_who_remembers_old_bounds_finds_the_new_ones(region: Region) -> None:
    """Memory that was one long segment is several short ones later; who read there before notices."""
    here, there = Segments(region, 0, fresh=True), Segments(region, 0)
    put(here, b"l" * 3 * UNIT)
    assert len(take_done(there)) == 3 * UNIT  # it has read in the long one
    old = there._reading, there._read
    give_up_the_long_one(here)
    small = b"s" * (UNIT // 4)
    for _ in range(100):
        put(here, small)
    for _ in range(50):
        assert take_done(here) == small
        there._reading, there._read = old  # as if it had slept all the time
        payload, places, place = take(there)
        assert bytes(payload) == small
        assert here.sweep() == 1  # where it says that it has taken is where others look
        places[place] = 0
        assert here.sweep() == 0
    assert here.take(OURS, PID, deque()) is None


def test_one_who_wrote_within_old_bounds_keeps_to_the_new_ones(region: Region) -> None:
    """A segment that has become shorter is not written beyond its end."""
    here, there = Segments(region, 0, fresh=True), Segments(region, 0)
    put(there, b"l" * 3 * UNIT)
    assert len(take_done(here)) == 3 * UNIT
    old = there._writing, there._written
    give_up_the_long_one(here)
    expected: list[bytes] = []
    for number in range(200):
        payload = number.to_bytes(2, "big") * (UNIT // 8)
        there._writing, there._written = old
        put(here if number % 2 else there, payload)
        expected.append(payload)
    assert [take_done(here) for _ in expected] == expected


def test_memory_is_given_back_once_all_is_done(region: Region) -> None:
    """A queue that was large is as small as a new one, but for one segment that is kept warm."""
    segments = Segments(region, 0, fresh=True)
    before = backed(region)
    payload = b"x" * 1000
    for _ in range(20_000):
        put(segments, payload)
    assert backed(region) - before > 19_000_000
    for _ in range(20_000):
        take_done(segments)
    assert segments.sweep() == 0
    assert backed(region) - before <= 2 * 16 * UNIT


def test_what_is_long_in_hand_keeps_no_more_than_its_segment(region: Region) -> None:
    """Those behind it come and go, and the memory does not grow."""
    segments = Segments(region, 0, fresh=True)
    payload = b"x" * 1000
    put(segments, payload)
    held, places, place = take(segments)
    before = backed(region)
    for _ in range(5_000):
        put(segments, payload)
        take_done(segments)
    assert backed(region) - before <= 4 * UNIT
    assert bytes(held) == payload
    assert segments.sweep() == 1
    places[place] = 0
    assert segments.sweep() == 0


def test_no_room_is_an_error_and_harms_nothing() -> None:
    """When the reserve is full the call fails; when there is room again, it goes on."""
    region = make_region(reserve=8 * UNIT)
    segments = Segments(region, 0, fresh=True)
    payload = b"x" * 10_000

    def fill() -> None:
        for _ in range(1000):
            put(segments, payload)

    with pytest.raises(OSError, match="no room left"):
        fill()
    count = segments.queued()
    assert 20 < count < 1000
    for _ in range(count):
        assert take_done(segments) == payload
    put(segments, payload)
    assert take_done(segments) == payload
    region.give_back()


def test_no_memory_is_an_error_and_harms_nothing(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the system has no memory the call fails; when it has, it goes on."""
    segments = Segments(region, 0, fresh=True)
    put(segments, b"first")

    def no_memory(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as broken:
        broken.setattr(Region, "open", no_memory)
        with pytest.raises(OSError, match="Cannot allocate"):
            put(segments, b"x" * 5 * UNIT)
    put(segments, b"x" * 5 * UNIT)
    assert take_done(segments) == b"first"
    assert take_done(segments) == b"x" * 5 * UNIT


def test_a_count_that_runs_over_begins_again(region: Region) -> None:
    """After 2**33 records the count is right still."""
    segments = Segments(region, 0, fresh=True)
    words = segments._words
    for word in (_HEAD, _TAIL):  # as if so many had come and gone
        words[word] += (2**33 - 2) << 31
    for number in range(5):
        put(segments, bytes([number]))
        assert segments.queued() == 1
        assert take_done(segments) == bytes([number])
        assert segments.empty()


def test_a_put_that_is_seen_after_its_get_leaves_none_queued() -> None:
    """Where a core may see the writes of another in another order, a look without a lock gives no huge number."""
    queue: Queue[str] = Queue(scope="process")
    words = inner(queue)._segments._words
    before = words[_TAIL]
    queue.put("x")
    queue.get()
    queue.task_done()
    after, words[_TAIL] = words[_TAIL], before
    assert queue.qsize() == 0
    assert queue.empty()
    words[_TAIL] = after


def test_what_others_took_meanwhile_is_not_taken_again(region: Region) -> None:
    """Who has seen how far the tail is looks again when another has taken, put back, or thrown away."""
    ours = Segments(region, 0, fresh=True)
    theirs = Segments(region, 0)
    for number in range(6):
        put(ours, bytes([number]))
    assert take_done(ours) == b"\0"
    assert [take_done(theirs) for _ in range(5)] == [bytes([number]) for number in range(1, 6)]
    assert ours.take(OURS, PID, deque()) is None
    put(theirs, b"6")
    assert take_done(theirs) == b"6"
    assert ours.take(OURS, PID, deque()) is None
    put(theirs, b"7")
    held: deque[Mark] = deque()
    assert bytes(theirs.take(OURS, PID, held) or b"") == b"7"
    assert ours.take(OURS, PID, deque()) is None
    theirs.put_back(held)
    assert take_done(ours) == b"7"
    for number in range(3):
        put(theirs, bytes([number]))
    assert take_done(ours) == b"\0"
    theirs.discard()
    assert ours.take(OURS, PID, deque()) is None


def test_what_was_seen_of_the_tail_is_not_taken_for_more(region: Region) -> None:
    """Where it was seen ahead of its next record, between two segments, only what was put since is taken."""
    segments, putter = Segments(region, 0, fresh=True), Segments(region, 0)
    put(putter, b"x" * 50_000)
    put(putter, b"x")
    putter.prepare(50_000)
    assert take_done(segments) == b"x" * 50_000  # sees the tail where it is now
    assert take_done(segments) == b"x"
    assert segments.take(OURS, PID, deque()) is None
    put(putter, b"y" * 50_000)
    assert take_done(segments) == b"y" * 50_000
    assert segments.take(OURS, PID, deque()) is None
    put(putter, b"z")
    assert take_done(segments) == b"z"


def test_a_tail_that_went_ahead_shows_nothing_to_take(region: Region) -> None:
    """Between the new segment and its first record, the queue is as empty as it was."""
    segments = Segments(region, 0, fresh=True)
    put(segments, b"x" * 50_000)
    take_done(segments)
    segments.prepare(50_000)
    assert segments.take(OURS, PID, deque()) is None
    assert segments.empty()
    assert segments.queued() == 0
    put(segments, b"y" * 50_000)
    assert take_done(segments) == b"y" * 50_000


@pytest.mark.parametrize("ends", [take_done, Segments.discard])
def test_two_jumps_in_a_row_are_followed(
    region: Region, ends: Callable[[Segments], object]
) -> None:
    """Who was about to put was killed when it had made room, and the next one needs more than that."""
    segments = Segments(region, 0, fresh=True)
    put(segments, b"x" * 50_000)
    assert take_done(segments) == b"x" * 50_000
    segments.prepare(50_000)
    put(segments, b"y" * 63_000)
    assert segments.queued() == 1
    assert ends(segments) in (b"y" * 63_000, None)
    put(segments, b"z")
    assert take_done(segments) == b"z"
    assert segments.empty()


def test_what_is_thrown_away_is_in_nobodys_hands(region: Region) -> None:
    """Not in those of a taker either that was killed as it came from the segment before."""
    segments = Segments(region, 0, fresh=True)
    put(segments, b"x" * 50_000)
    take_done(segments)
    put(segments, b"y" * 50_000)
    put(segments, b"z")
    first, second = chain_of(segments)
    assert first.start <= segments._words[_HEAD] & 0x7FFFFFFF < first.end
    second.memory[_first_record(second) - second.start] = 1  # all but the last step
    segments.discard()
    assert segments.empty()
    assert segments.sweep() == 0
    segments.discard()
    put(segments, b"w")
    assert take_done(segments) == b"w"


def test_memory_that_someone_else_wrote_to_is_told(region: Region) -> None:
    """A chain that leads nowhere is an error, not an endless search."""
    segments = Segments(region, 0, fresh=True)
    segments._words[_TAIL] += 1 << 20  # the tail is in no segment
    with pytest.raises(SharedStateLost, match="was written to by something else"):
        put(segments, b"x")


def test_what_is_put_back_is_the_next_to_be_taken(region: Region) -> None:
    """As if it had not been taken, also where it was the first of a segment."""
    segments = Segments(region, 0, fresh=True)
    for item in (b"x" * 50_000, b"y" * 50_000, b"z"):
        put(segments, item)
    for left in (3, 2, 1):
        held: deque[Mark] = deque()
        payload = segments.take(OURS, PID, held)
        assert payload is not None
        expected = bytes(payload)
        segments.put_back(held)
        assert not held
        assert segments.queued() == left
        assert take_done(segments) == expected
    assert segments.sweep() == 0
    segments.put_back(
        deque()
    )  # there may be nothing: it was noted in the process that this one was forked from
    assert segments.empty()


def test_what_cannot_be_put_back_is_nobodys(region: Region) -> None:
    """When the next one is taken, its taker is one that has ended, whoever asks."""
    segments = Segments(region, 0, fresh=True)
    put(segments, b"a")
    put(segments, b"b")
    held: deque[Mark] = deque()
    segments.take(OURS, PID, held)
    assert take_done(segments) == b"b"
    segments.put_back(held)
    assert not held
    (record,) = segments.taken()
    number, pid = segments.taker(record) or (0, 0)
    assert pid == PID
    assert lives.ended(region.arena, number)
    segments.hand_over(record, OURS + 1, PID + 1, held)
    assert segments.taker(record) == (OURS + 1, PID + 1)
    assert [(memory, place) for memory, place, _ in held] == [record[1:]]


def test_the_newest_of_what_is_not_done_is_found(region: Region) -> None:
    """Of several segments, and none when all is done."""
    segments = Segments(region, 0, fresh=True)
    assert segments.newest() is None
    for _ in range(3):
        put(segments, b"x" * 30_000)
    records = [take(segments) for _ in range(3)]
    for record in reversed(records):
        assert segments.newest() == record[1:]
        _, places, place = record
        places[place] = 0
    assert segments.newest() is None
