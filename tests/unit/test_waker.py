"""What wakes a driver: heard by the one who sleeps, and by nobody else's file."""

from __future__ import annotations

import os
import resource
import select

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE
from workpool import Pool
from workpool.ipc.waker import Waker


def rung(*fds: int) -> bool:
    """Tell whether one of them can be read."""
    return bool(select.select(fds, [], [], 0)[0])


def test_a_ring_is_heard_once() -> None:
    """However often it was rung, also beyond what the pipe takes."""
    waker = Waker()
    assert not rung(waker.fd)
    waker.ring()
    assert rung(waker.fd)
    waker.hush()
    assert not rung(waker.fd)
    waker.hush()
    for _ in range(70_000):
        waker.ring()
    assert rung(waker.fd)


def test_it_is_open_for_as_long_as_somebody_may_ring() -> None:
    """And closed with the last of them."""
    waker = Waker()
    fd, ring = waker.fd, waker.ring
    del waker
    ring()
    assert rung(fd)
    del ring
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_without_descriptors_there_is_none() -> None:
    """The error is the caller's, and nothing is complained of at the end."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            Waker()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_who_rings_too_late_writes_to_no_other_file() -> None:
    """A thread that was about to wake a driver goes on when that has left, and its descriptors are somebody else's."""
    with Pool(1, backend="process") as pool:
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
        wake = pool._scheduler.workers[0].wake
    # Twice, as the number may be the reading or the writing end of a pipe.
    for shift in (0, 1):
        fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(shift)]
        pipes = [os.pipe() for _ in range(100)]
        try:
            wake()
            assert not rung(*(read for read, _ in pipes))
        finally:
            for fd in (*fds, *(fd for pipe in pipes for fd in pipe)):
                os.close(fd)
