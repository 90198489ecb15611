"""array(): numbers that all tasks of a pool see, on every backend, and none of their changes is lost."""

from __future__ import annotations

import pytest

from tests.support.gates import DEADLINE
from workpool import Array, Pool, Unsupported


def put(array: Array, place: int, value: float) -> None:
    array[place] = value


def add(array: Array, times: int) -> None:
    for _ in range(times):
        with array.lock() as view:
            view[0] += 1


@pytest.mark.needs("memory")
def test_tasks_write_where_the_caller_reads(pool: Pool) -> None:
    """What tasks put into an array is there for the caller and for other tasks."""
    array = pool.array(10)
    list(pool.starmap(put, [(array, n, n / 2) for n in range(10)]))
    assert list(array) == [n / 2 for n in range(10)]
    array[3] = 7.0
    assert pool.submit(Array.__getitem__, array, 3).result(DEADLINE) == 7.0


@pytest.mark.needs("memory")
def test_no_increment_under_the_lock_is_lost(pool: Pool) -> None:
    """Tasks that count in one number arrive at the sum."""
    array = pool.array(1, int)
    tasks = [pool.submit(add, array, 200) for _ in range(6)]
    for task in tasks:
        task.result(DEADLINE)
    assert array[0] == 1200


@pytest.mark.lacks("memory")
def test_an_array_out_of_reach_is_refused(pool: Pool) -> None:
    """Where workers have no memory in common with the caller, the call says so, and what to do."""
    with pytest.raises(Unsupported, match=r"array\(\(10,\)\).*backend=\"process\""):
        pool.array(10)
