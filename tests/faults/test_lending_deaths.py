"""A worker is killed between two steps of lending memory for large payloads.

Between taking a slot and sending its note, say. One call at most is charged, the others
run once, and the memory is used again: nobody waits for what a dead worker had.
"""

from __future__ import annotations

import gc
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import MakePool
from tests.support.fatal import started
from tests.support.gates import DEADLINE
from tests.support.lending import POINTS, give_and_die, take_and_die
from tests.support.queues import until
from workpool import Pool, WorkerLost
from workpool.ipc.depot import CAN_LEND, Depot

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not CAN_LEND, reason="this system cannot lend memory"),
]

SIZE = 400_000  # bytes: more than goes through a pipe
ITEMS = 4
ARGUMENT = [point for point in POINTS if "argument" in point]
RESULT = [point for point in POINTS if point not in ARGUMENT]
# Which items are charged. An outcome that is sent is taken, and so is one that waits for company in the
# journal; one that is sent alone has not been noted there.
CHARGED: dict[str, list[list[int]]] = {
    "before the note is sent": [[], [0]],
    "after the note is sent": [[]],
}


def one_at_most(outcomes: list[Any], starts: Path) -> list[int]:
    """Check that each ran once and one at most is charged; give which."""
    lost = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
    assert len(lost) <= 1
    assert all(isinstance(outcomes[n], WorkerLost) for n in lost)
    counts = started(starts)
    for n in range(ITEMS):  # one may be charged before it came to our code
        assert counts[str(n)] <= 1 if n in lost else counts[str(n)] == 1
    return lost


def all_rooms_free(pool: Pool) -> int:
    """Wait until nobody has anything of the caller's memory any more; tell how far it reaches."""
    depot: Any = pool._backend.depot  # type: ignore[attr-defined]  # of processes
    assert isinstance(depot, Depot)

    def free() -> bool:
        gc.collect()
        depot._take_back(0)
        return not depot._out and sum(size for _, size in depot._free) == depot._end

    until(free)
    return depot._end


@pytest.mark.parametrize("chunksize", [1, ITEMS])
@pytest.mark.parametrize("point", RESULT)
def test_killed_on_the_way_of_a_result(
    make_pool: MakePool, tmp_path: Path, point: str, chunksize: int
) -> None:
    """The result that was on its way comes whole or its call is charged; later ones come whole."""
    pool = make_pool(1)
    for turn in range(2):
        # The first result of a worker goes to a new room, the second to the one that is free again.
        assert pool.submit(give_and_die, str(tmp_path / "first"), point, SIZE, 1).result(DEADLINE)
        starts = tmp_path / f"{turn}"
        fn = partial(give_and_die, str(starts), point, SIZE)
        outcomes: list[Any] = list(
            pool.map(
                fn, range(ITEMS), chunksize=chunksize, return_exceptions=True, timeout=DEADLINE
            )
        )
        lost = one_at_most(outcomes, starts)
        assert lost in CHARGED.get(point, [[0]])
        for n in set(range(ITEMS)) - set(lost):
            assert outcomes[n] == bytes([n]) * SIZE
        assert pool.stats().lost == turn + 1


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("point", ARGUMENT)
def test_killed_on_the_way_of_an_argument(
    make_pool: MakePool, tmp_path: Path, point: str, method: str
) -> None:
    """Its room is used again, as often as that happens, and what was sent along is read by the next worker."""
    pool = make_pool(1, start_method=method)
    reach = 0
    for turn in range(3):
        starts = tmp_path / f"{turn}"
        data = [bytes([n]) * SIZE for n in range(ITEMS)]
        outcomes: list[Any] = list(
            pool.map(
                partial(take_and_die, str(starts), point),
                data,
                chunksize=ITEMS,
                return_exceptions=True,
                timeout=DEADLINE,
            )
        )
        del data
        lost = one_at_most(outcomes, starts)
        assert [outcome[0] for n, outcome in enumerate(outcomes) if n not in lost] == [
            n for n in range(ITEMS) if n not in lost
        ]
        assert pool.stats().lost == turn + 1
        reach = max(reach, all_rooms_free(pool)) if not turn else reach
        assert all_rooms_free(pool) <= reach
