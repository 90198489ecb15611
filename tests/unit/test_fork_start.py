"""Workers that are forked from this very process leave nothing of themselves."""

from __future__ import annotations

from tests.support import tasks
from tests.support.gates import DEADLINE
from workpool import Pool, WorkerLost


def test_a_forked_worker_leaves_no_zombie() -> None:
    """When its workers have ended, in order or not, a pool has no children left; the leak check looks."""
    with Pool(2, backend="process", start_method="fork") as pool:
        assert list(pool.map(tasks.double, range(4))) == [0, 2, 4, 6]
        assert isinstance(pool.submit(tasks.die).exception(DEADLINE), WorkerLost)
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
