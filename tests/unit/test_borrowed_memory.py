"""What a worker has made and given to its parent: the parent borrows its memory, and counts as one that lives.

Here a process borrows from itself, where it is not about the deaths of others.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pytest

from tests.support.gates import in_background
from workpool import Pool, Queue, Semaphore
from workpool.ipc import arenas, block, nameless

_made: list[Any] = []


def make_one_more(kind: str) -> Any:
    """Make something in a worker, which keeps it."""
    thing: Any = (
        Semaphore(1, scope="process") if kind == "semaphore" else Queue[str](scope="process")
    )
    if kind == "queue":
        thing.put("item")
    _made.append(thing)
    return thing


def get_a_permit() -> bool:
    return bool(_made[-1].acquire(timeout=0))


def find_abandoned() -> tuple[dict[int, int], list[str]]:
    return _made[-1].abandoned(), list(_made[-1].reclaim())


@pytest.mark.leaks_expected(
    "one lock file stays open: to close it would say that this process has ended"
)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="lent through /proc")
def test_who_lets_go_of_a_borrowed_arena_still_lives_in_the_next() -> None:
    """What it takes then counts as taken by the living, and its descriptors do not pile up."""
    fds: list[int] = []
    with Pool(1, backend="process") as pool:
        for _ in range(4):
            permit = pool.submit(make_one_more, "semaphore").result()
            assert permit.acquire(timeout=0)
            assert not pool.submit(get_a_permit).result()
            permit.release()
            queue = pool.submit(make_one_more, "queue").result()
            assert queue.get() == "item"
            assert pool.submit(find_abandoned).result() == ({}, [])
            queue.task_done()
            del permit, queue
            gc.collect()
            fds.append(len(os.listdir("/proc/self/fd")))
    assert len(set(fds)) == 1


def lend_arena() -> Callable[[], Any]:
    """Make the files of an arena; each call unpickles it, as if another process had made it."""
    memory, locks = nameless.make("workpool-lent"), nameless.make("workpool-lent.locks")
    return lambda: arenas._find("lent", os.getpid(), memory, locks)


def lend_block() -> Callable[[], Any]:
    """Make the file of a block; each call unpickles it."""
    fd = nameless.make("workpool-lent")
    nameless.grow(fd, 0, 4096)
    place = os.getpid(), fd
    return lambda: block._find("lent", place, 4096, place)


@pytest.mark.leaks_expected("the files that are lent stay open")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="lent through /proc")
@pytest.mark.parametrize(
    ("lend", "fd_of"),
    [(lend_arena, attrgetter("memory_fd")), (lend_block, attrgetter("fd"))],
    ids=["arena", "block"],
)
def test_what_is_let_go_of_is_not_found_any_more(
    monkeypatch: pytest.MonkeyPatch,
    lend: Callable[[], Callable[[], Any]],
    fd_of: Callable[[Any], int],
) -> None:
    """Who unpickles it in another thread, just as its files are closed, gets it with files of its own."""
    find = lend()
    close = os.close
    found: list[Any] = []
    closing = -1

    def close_slowly(fd: int) -> None:
        if fd == closing and not found:
            found.append(in_background(find).result())
        close(fd)

    first = find()
    assert find() is first
    closing = fd_of(first)
    for kind in (arenas._Files, block._File):
        monkeypatch.setattr(kind, "_close", staticmethod(close_slowly))
    del first
    os.fstat(fd_of(found[0]))
    found.clear()  # not by the end of the patch: until 3.13 a type must not be asked for what it is just losing
