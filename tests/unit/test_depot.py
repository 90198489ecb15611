"""Memory that large payloads are laid down in: found, lent, and used again."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from pickle import PickleBuffer
from typing import Any

import numpy as np
import pytest

from workpool.ipc import available, borrowing, depot, nameless, pickling
from workpool.ipc.borrowing import Borrowed
from workpool.ipc.depot import Depot, Slots

pytestmark = pytest.mark.skipif(not depot.CAN_LEND, reason="this system has no memfd")

LARGE = bytes(range(256)) * 2_048  # 512 KiB


@pytest.fixture
def lender() -> Iterator[Depot]:
    """A depot of its own."""
    made = Depot(nameless.make("test"))
    yield made
    made.close()


@pytest.fixture
def slots() -> Iterator[Slots]:
    """The slots of one receiver."""
    memory = mmap.mmap(-1, depot.CONTROL_SIZE)
    yield Slots(memory, 0)
    memory.close()


def note_of(lender: Depot, slots: Slots, value: object) -> depot.Note:
    """Lay a value down and lend it."""
    note = depot.dump_note(lender, slots, value)
    assert isinstance(note, tuple)
    return note


def test_small_values_are_not_laid_down(lender: Depot) -> None:
    """What is quicker through the pipe is a plain pickle."""
    assert lender.dump(b"small") == pickling.dumps(b"small")


def test_a_value_comes_back_whole(lender: Depot, slots: Slots) -> None:
    """A large value is the same on the other side, its buffers out of band or not."""
    values: list[Any] = [LARGE, bytearray(LARGE), {"a": LARGE, "b": [1, PickleBuffer(LARGE)]}]
    for value in values:
        note = note_of(lender, slots, value)
        loaded = borrowing.loads(Borrowed(lender.fd, slots, note))
        if isinstance(value, dict):
            assert loaded["a"] == LARGE
            assert bytes(loaded["b"][1]) == LARGE
        else:
            assert loaded == value


def test_a_room_is_used_again_when_the_receiver_has_let_go(lender: Depot, slots: Slots) -> None:
    """The same memory serves the next payload, once the last object in it is gone."""
    first = note_of(lender, slots, an_array())
    kept = borrowing.loads(Borrowed(lender.fd, slots, first))
    second = note_of(lender, slots, an_array())
    assert second[0] != first[0]
    del kept
    assert note_of(lender, slots, an_array())[0] == first[0]


def an_array() -> object:
    """Give an array whose buffer travels out of band."""
    return np.zeros(1 << 19, dtype="u1")


def test_a_payload_that_nobody_opens_frees_its_room(lender: Depot, slots: Slots) -> None:
    """A note that was received and dropped is as good as one that was used."""
    first = note_of(lender, slots, LARGE)
    assert slots.is_taken(first[1])
    del_me = Borrowed(lender.fd, slots, first)
    del del_me
    assert not slots.is_taken(first[1])
    assert note_of(lender, slots, LARGE)[0] == first[0]


def test_the_death_of_a_receiver_frees_its_rooms(lender: Depot, slots: Slots) -> None:
    """What a dead worker had is not waited for."""
    first = note_of(lender, slots, LARGE)
    slots.declare_void()
    other = Slots(mmap.mmap(-1, depot.CONTROL_SIZE), 0)
    assert note_of(lender, other, LARGE)[0] == first[0]


def test_a_parcel_may_be_lent_again_to_another(lender: Depot, slots: Slots) -> None:
    """A task that runs again elsewhere finds its arguments as they were, whatever the first run did to them."""
    parcel = lender.dump(an_array())
    assert isinstance(parcel, depot.Parcel)
    note = parcel.note_for(slots)
    assert note is not None
    array = borrowing.loads(Borrowed(lender.fd, slots, note))
    array[:] = 7
    other = Slots(mmap.mmap(-1, depot.CONTROL_SIZE), 0)
    again = parcel.note_for(other)
    assert again is not None
    assert not borrowing.loads(Borrowed(lender.fd, other, again)).any()


def test_with_no_slot_left_it_is_sent_another_way(lender: Depot, slots: Slots) -> None:
    """A receiver that holds very much is sent plain pickles."""
    while slots.take() >= 0:
        pass
    assert depot.dump_note(lender, slots, LARGE) == pickling.dumps(LARGE)
    parcel = lender.dump(LARGE)
    assert isinstance(parcel, depot.Parcel)
    assert parcel.note_for(slots) is None
    assert borrowing.loads([memoryview(piece) for piece in parcel.read()]) == LARGE


def test_without_memory_it_is_sent_another_way(
    lender: Depot, slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full system costs speed, not the task; and the room is not lost."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        assert lender.dump(LARGE) == pickling.dumps(LARGE)
    assert note_of(lender, slots, LARGE)[0] == 0


def test_a_closed_depot_writes_to_no_file() -> None:
    """The number of a closed file may be another file's: nothing is written there."""
    made = Depot(nameless.make("test"))
    number = made.fd
    other = nameless.make("other")
    made.close()
    try:
        os.dup2(other, number)
        assert made.dump(LARGE) == pickling.dumps(LARGE)
        assert os.fstat(number).st_size == 0
        made.trim()
        made.close()  # a second time: not that file either
        os.fstat(number)
    finally:
        os.close(number)
        os.close(other)


def test_a_closed_depot_gives_nothing_for_something(slots: Slots) -> None:
    """What lay in a depot that is closed is not read as zeros, nor from the file that has its number."""
    made = Depot(nameless.make("test"))
    parcel = made.dump(LARGE)
    assert isinstance(parcel, depot.Parcel)
    made.close()
    with pytest.raises(OSError, match="closed"):
        parcel.read()


def test_free_memory_goes_back_to_the_system(lender: Depot, slots: Slots) -> None:
    """trim() leaves no memory behind that nobody uses."""
    Borrowed(lender.fd, slots, note_of(lender, slots, LARGE))
    assert os.fstat(lender.fd).st_blocks > 0
    lender.trim()
    assert os.fstat(lender.fd).st_blocks * 512 <= mmap.PAGESIZE  # the last one is not whole


def test_free_memory_is_bounded(
    lender: Depot, slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst of payloads does not keep its memory for ever."""
    monkeypatch.setattr(depot, "_KEPT", 1 << 20)
    burst = [Borrowed(lender.fd, slots, note_of(lender, slots, LARGE)) for _ in range(8)]
    assert os.fstat(lender.fd).st_blocks * 512 >= 8 * len(LARGE)
    del burst
    note_of(lender, slots, LARGE)
    assert os.fstat(lender.fd).st_blocks * 512 <= 3 << 20


def test_neighbouring_rooms_become_one(lender: Depot, slots: Slots) -> None:
    """Rooms of small payloads serve a large one when they are free."""
    burst = [Borrowed(lender.fd, slots, note_of(lender, slots, LARGE)) for _ in range(4)]
    del burst
    assert note_of(lender, slots, 3 * LARGE)[0] == 0


def test_too_many_mappings_become_copies(
    lender: Depot, slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver maps so much and no more; what comes then is copied, and its room is free at once."""
    monkeypatch.setattr(borrowing, "_MOST_MAPPED", len(borrowing._mapped))
    note = note_of(lender, slots, an_array())
    array = borrowing.loads(Borrowed(lender.fd, slots, note))
    assert not slots.is_taken(note[1])
    array[0] = 1


@pytest.fixture
def at_forks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What becomes of what is mapped: the kernel copies it, or cannot, or has no room to."""
    monkeypatch.setattr(borrowing, "_reserved", 0)
    if request.param == "old kernel":
        monkeypatch.setattr(borrowing, "_POPULATE_WRITE", 9_999)
    if request.param == "no room":
        monkeypatch.setattr(available, "available", lambda: 1_000)
    return str(request.param)


@pytest.mark.parametrize("at_forks", ["copied", "old kernel", "no room"], indirect=True)
def test_a_forked_child_never_sees_the_memory_change(
    lender: Depot, slots: Slots, at_forks: str
) -> None:
    """What was mapped at a fork is the child's, too; its room is used again if it was copied, else not."""
    note = note_of(lender, slots, an_array())
    array = borrowing.loads(Borrowed(lender.fd, slots, note))
    array[0] = 7
    read, write = os.pipe()
    done, go = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - in another process
        try:
            os.read(done, 1)
            os.write(write, bytes([int(array[0]), int(array[1:].any())]))
        finally:
            os._exit(0)
    other = note_of(lender, slots, np.ones(1 << 19, dtype="u1"))
    if at_forks == "copied":
        assert other[0] == note[0]
        assert array[0] == 7
        assert not array[1:].any()
    del array
    again = note_of(lender, slots, np.ones(1 << 19, dtype="u1"))
    assert again[0] != note[0]
    os.write(go, b"!")
    assert os.read(read, 2) == b"\7\0"
    os.waitpid(child, 0)
    for fd in (read, write, done, go):
        os.close(fd)


@pytest.mark.parametrize("at_forks", ["old kernel", "no room"], indirect=True)
def test_what_forks_leave_reserved_is_bounded(
    lender: Depot, slots: Slots, at_forks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has left as much behind copies what it is sent, and so has nothing that a fork could keep."""
    del at_forks
    monkeypatch.setattr(borrowing, "_MOST_RESERVED", 3 << 19)
    places: list[int] = []
    for _ in range(10):
        note = note_of(lender, slots, an_array())
        array = borrowing.loads(Borrowed(lender.fd, slots, note))
        places.append(note[0])
        if (child := os.fork()) == 0:  # pragma: no cover - in another process
            os._exit(0)
        os.waitpid(child, 0)
        del array
    assert len(set(places)) == 4
