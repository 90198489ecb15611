"""What a worker has made and given to its parent: the parent borrows its memory, and counts as one that lives."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

import pytest

from workpool import Pool, Queue, Semaphore

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
