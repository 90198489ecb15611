"""Results that nobody has any more: what becomes of their map call, and of its pool."""

from __future__ import annotations

import gc
from typing import Any, NoReturn

import pytest

from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE
from tests.support.queues import until
from workpool import Pool, TimeLimitExceeded


@pytest.mark.parametrize("chunksize", [None, 1])
@pytest.mark.parametrize("first", ["pool", "results"])
def test_a_pool_that_is_let_go_with_its_results_ends(
    kind: Kind, first: str, chunksize: int | None
) -> None:
    """Nobody is there who would pull the rest of the input, whichever of the two goes first."""
    pool: Any = Pool(2, **kind.settings)
    results: Any = pool.map(tasks.double, iter(range(1_000)), buffersize=10, chunksize=chunksize)
    scheduler = pool._scheduler
    if first == "pool":
        del pool
        gc.collect()
        assert not scheduler.closed  # somebody may consume
        del results
    else:
        del results
        del pool
    gc.collect()
    until(lambda: scheduler.closed and not scheduler.workers)
    assert scheduler.ledger.unfinished == 0


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_results_that_a_thread_drops_as_it_is_given_up_are_cancelled(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent into it hits it on the way to that; it is done all the same, and nothing is complained of."""
    scheduler = pool._scheduler
    results: Any = pool.map(tasks.double, iter(range(1_000)), buffersize=10)
    assert next(results) == 0
    job = results._job

    def hit() -> NoReturn:
        raise TimeLimitExceeded("sent into this thread")

    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "busy_here", hit)
        del results
    until(lambda: job.closed)
    pool.join(DEADLINE)
