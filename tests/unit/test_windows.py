"""Copies into a file of memory through windows: where they land, and what happens when there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator

import pytest

from workpool.ipc import nameless, windows
from workpool.ipc.depot import CAN_LEND, Depot
from workpool.ipc.windows import WINDOW, Windows

pytestmark = pytest.mark.skipif(not CAN_LEND, reason="this system has no files of memory")

SIZE = 3 << 20


@pytest.fixture
def fd() -> Generator[int]:
    """Make a file that is two windows long, with memory behind none of it."""
    fd = nameless.make("windows")
    os.truncate(fd, 2 * WINDOW)
    yield fd
    os.close(fd)


@pytest.fixture
def depot() -> Generator[Depot]:
    """Make a depot with one room, which was used before."""
    depot = Depot(nameless.make("depot"))
    assert depot.lay_down([bytes(SIZE)], []) is not None  # and let go of at once
    yield depot
    depot.close()


def views(*pieces: bytes) -> list[memoryview]:
    return [memoryview(piece) for piece in pieces]


@pytest.mark.parametrize("offset", [0, 5, WINDOW - 7, WINDOW - 400_000])
def test_pieces_land_one_after_the_other(fd: int, offset: int) -> None:
    """Small and large ones, within a window and from one to the next; nothing around them changes."""
    small, large, last = b"small", os.urandom(1_000_001), b"z"
    through = Windows(fd)
    assert through.copy(views(small, large, last), offset)
    whole = small + large + last
    assert os.pread(fd, len(whole) + 8, offset) == whole + bytes(8)
    assert not any(os.pread(fd, min(100, offset), max(0, offset - 100)))
    through.close()


def test_a_file_that_is_too_short_has_no_window(fd: int) -> None:
    """Then the caller writes instead."""
    assert not Windows(fd).copy(views(b"beyond"), 2 * WINDOW)


def test_a_used_room_is_filled_through_a_window(depot: Depot) -> None:
    """And read as it was sent; trim() and close() let go of what is mapped."""
    data = os.urandom(SIZE - 3)
    parcel = depot.lay_down([data], [])
    assert parcel is not None
    assert parcel._room[0] == 0
    assert parcel.read() == [data]
    assert len(depot._windows._open) == 1
    depot.trim()
    assert not depot._windows._open
    again = depot.lay_down([data], [])  # in a room of its own: the first is still wanted
    assert again is not None
    assert again.read() == parcel.read() == [data]


def test_without_the_call_it_is_a_write(
    fd: int, depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older kernel does not know the one that asks for pages: nothing is stored to pages that may not be there."""
    monkeypatch.setattr(windows, "_MADV_POPULATE_WRITE", 9_999)
    data = os.urandom(SIZE)
    assert not Windows(fd).copy(views(data), 0)
    assert not any(os.pread(fd, SIZE, 0))
    parcel = depot.lay_down([data], [])
    assert parcel is not None
    assert parcel.read() == [data]


def test_without_addresses_it_is_a_write_and_a_fork_keeps_nothing() -> None:
    """A process that may map no more still sends; and a child lets go of the windows of its parent."""
    script = f"""
import os, resource
from workpool.ipc import nameless
from workpool.ipc.depot import Depot
depot = Depot(nameless.make("depot"))
depot.lay_down([bytes({SIZE})], [])
data = os.urandom({SIZE})
parcel = depot.lay_down([data], [])
print(len(depot._windows._open), parcel.read() == [data])
if not os.fork():
    print(len(depot._windows._open), parcel.read() == [data], flush=True)
    os._exit(0)
os.wait()
del parcel
depot._windows.close()
with open("/proc/self/statm") as file:
    mapped = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
resource.setrlimit(resource.RLIMIT_AS, (mapped + (16 << 20),) * 2)
parcel = depot.lay_down([data], [])
print(len(depot._windows._open), parcel.read() == [data])
"""
    done = subprocess.run(
        [sys.executable, "-u", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout.splitlines(), done.stderr) == (["1 True", "0 True", "0 True"], "")
