"""What the consumer of a map call hears when it was ended from elsewhere, and when it asks once more."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from itertools import count

import pytest

from tests.support import tasks
from tests.support.gates import Gate, in_background
from tests.support.queues import until
from workpool import Pool, WorkerLost

ITEMS = 20


@pytest.mark.needs("concurrent", "limits")
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("chunksize", [None, 1], ids=["chunks", "single"])
def test_results_that_nobody_had_fetched_go_with_a_killed_pool(
    pool: Pool, gate: Gate, chunksize: int | None, ordered: bool
) -> None:
    """They are dropped, and the consumer is told why there are no more."""
    run = tasks.holding(gate.path, held=ITEMS)
    results = pool.map(run, count(), chunksize=chunksize, buffersize=ITEMS, ordered=ordered)
    next(results)
    results.pull()  # it has pulled the one that is held, and there is more
    until(lambda: results._job.settled == ITEMS)
    in_background(pool.kill).result()
    with pytest.raises((CancelledError, WorkerLost)):
        in_background(list[int], results).result()


@pytest.mark.parametrize("ordered", [True, False])
def test_a_call_whose_item_found_no_room_says_so_again(
    kind: object,
    make_pool: Callable[..., Pool],
    busy: Callable[[Pool], AbstractContextManager[Gate]],
    ordered: bool,
) -> None:
    """The first who asks has the error; the next is not told that somebody had shut the pool down."""
    del kind
    pool = make_pool(1, queue_size=1)
    hasty = pool.options(queue_timeout=0)
    results = hasty.map(tasks.double, iter(range(9)), chunksize=1, buffersize=1, ordered=ordered)
    assert next(results) == 0
    with busy(pool):
        pool.submit(tasks.double, 1)
        with pytest.raises(queue.Full):
            next(results)
        with pytest.raises(CancelledError, match="refused with Full"):
            next(results)
