"""A keeper that has too few descriptors: it says so, and has as many as the program when there are more."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support.backends import Kind
from tests.support.scripts import printed_by

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")

PROCESS = Kind("process", frozenset())

LIMITS = """
import os, resource
from tests.support.gates import DEADLINE

def limit(what, soft):
    resource.setrlimit(what, (soft, resource.getrlimit(what)[1]))

def fds():
    return len(os.listdir("/proc/self/fd"))
"""


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no coverage in programs that count descriptors: it needs some itself."""
    for name in list(os.environ):
        if name.startswith("COVERAGE"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_keeper_of_poor_times_is_none_for_ever(method: str) -> None:
    """Started while the program had few descriptors, it and its workers have as many as the program later on."""
    script = (
        LIMITS
        + f"""
METHOD = {method!r}
def most():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
soft = most()
import multiprocessing.spawn, multiprocessing.resource_tracker, workpool.backends.process
from workpool.ipc.keeper import keeper
limit(resource.RLIMIT_NOFILE, 16)
keeper.warm()
assert resource.prlimit(keeper._pid, resource.RLIMIT_NOFILE)[0] == 16
limit(resource.RLIMIT_NOFILE, soft)
with Pool(2, backend="process", start_method=METHOD) as pool:
    print([pool.submit(tasks.double, n).result(DEADLINE) for n in range(4)])
    print(pool.submit(most).result(DEADLINE) == soft)
"""
    )
    assert printed_by(PROCESS, script) == ["[0, 2, 4, 6]", "True"]


def test_a_keeper_without_descriptors_says_so() -> None:
    """A request whose descriptors do not all arrive is refused as a whole, and nothing of it stays open."""
    script = (
        LIMITS
        + """
import errno, socket
from workpool.ipc import keeper, requests
soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
for room in (0, 1, 3, 5):
    ours, theirs = socket.socketpair()
    status_r, status_w = os.pipe()
    given = [os.dup(status_r) for _ in range(5)]
    requests.send(ours.fileno(), keeper.FORK, [status_w, *given])
    for fd in (status_w, *given):
        os.close(fd)
    spare = [os.dup(theirs.fileno())]
    before = fds()
    limit(resource.RLIMIT_NOFILE, max(map(int, os.listdir("/proc/self/fd"))) + room)
    held = []
    while len(held) < 100:  # no number below the limit is free but for that room
        try:
            held.append(os.dup(status_r))
        except OSError:
            break
    for fd in held[len(held) - room:]:
        os.close(held.pop())
    method, got = requests.receive(theirs, spare, os.getpid())
    for fd in (*held, *got):
        os.close(fd)
    limit(resource.RLIMIT_NOFILE, soft)
    told = None if got else requests.read_status(status_r)
    print(method, len(got), told == -errno.EMFILE, fds() == before, len(spare))
    for fd in (status_r, *spare):
        os.close(fd)
    ours.close(), theirs.close()
"""
    )
    refused = "b'f' 0 True True 1"
    assert printed_by(PROCESS, script) == [refused] * 3 + ["b'f' 6 False False 0"]


def test_a_setup_holds_any_number_of_arrays() -> None:
    """More arrays in initargs than a worker can be given descriptors: it opens the others for itself."""
    script = """
from workpool import Array

def keep(arrays):
    tasks.kept = arrays

def total():
    return sum(int(array[0]) for array in tasks.kept)

arrays = [Array(4, scope="process") for _ in range(300)]
for array in arrays:
    array[0] = 1
with Pool(1, backend="process", initializer=keep, initargs=(arrays,)) as pool:
    print(pool.submit(total).result(DEADLINE))
"""
    assert printed_by(PROCESS, LIMITS + script) == ["300"]


def test_a_setup_of_too_many_descriptors_is_told_what_to_do() -> None:
    """What has no other way into a worker than a descriptor is named, and nobody is sent to free memory."""
    script = """
from multiprocessing import Pipe

pipes = [Pipe() for _ in range(150)]
with Pool(1, backend="process", initializer=print, initargs=(pipes,)) as pool:
    said = str(pool.submit(tasks.double, 1).exception(DEADLINE))
    print("hold fewer pipes and queues of multiprocessing" in said, "Free" in said)
"""
    assert printed_by(PROCESS, LIMITS + script) == ["True False"]
