"""How worker processes begin, and that they leave nothing of themselves and pass nothing on."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.support import tasks
from tests.support.dying import die
from tests.support.gates import DEADLINE
from workpool import Pool, WorkerLost
from workpool.ipc import launch
from workpool.ipc.keeper import write_status


def test_a_forked_worker_leaves_no_zombie() -> None:
    """When its workers have ended, in order or not, a pool has no children left; the leak check looks."""
    with Pool(2, backend="process", start_method="fork") as pool:
        assert list(pool.map(tasks.double, range(4))) == [0, 2, 4, 6]
        assert isinstance(pool.submit(tasks.die).exception(DEADLINE), WorkerLost)
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


def inheritable() -> list[str]:
    """List what a program that this process becomes, or starts in C, would have open."""
    found: list[str] = []
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing itself is closed
            if int(entry) > 2 and os.get_inheritable(int(entry)):
                found.append(os.readlink(f"/proc/self/fd/{entry}"))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of descriptors")
@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_what_a_task_starts_is_given_none_of_our_descriptors(method: Any) -> None:
    """A daemon of a task keeps no pipe, no memory and no helper process of the program alive."""
    before = inheritable()  # of whoever started this program
    with Pool(1, backend="process", start_method=method) as pool:
        state: Any = pool.lock(), pool.queue()
        assert set(pool.submit(inheritable).result(DEADLINE)) <= set(before)
        del state


Watch = Callable[[list[int], int, int], int]


def fails(given: list[int], status_w: int, parent: int) -> int:
    raise LookupError(given, status_w, parent)


def is_killed(given: list[int], status_w: int, parent: int) -> int:
    die()
    return 0


def tells(given: list[int], status_w: int, parent: int) -> int:
    write_status(status_w, -errno.EAGAIN)
    return 1


@pytest.mark.parametrize(
    ("watch", "number", "words"),
    [
        (fails, None, "its watcher ended with exit code 1 before it had forked it"),
        (is_killed, None, f"its watcher was killed by signal {int(signal.SIGKILL)} before"),
        (tells, errno.EAGAIN, os.strerror(errno.EAGAIN)),
    ],
)
def test_a_watcher_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch, watch: Watch, number: int | None, words: str
) -> None:
    """The error tells what became of the process between, and has an errno if the system gave one."""
    monkeypatch.setattr(launch, "watch_fork", watch)
    with (
        Pool(1, backend="process", start_method="fork") as pool,
        pytest.raises(WorkerLost, match="a worker process could not be started") as caught,
    ):
        pool.submit(tasks.double, 1).result(DEADLINE)
    assert words in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == number
