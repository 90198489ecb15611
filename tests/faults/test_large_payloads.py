"""Large arguments and results of processes: as good as copies, whoever dies meanwhile."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from workpool import Pool
from workpool.backends.process import feeding
from workpool.ipc import depot

N = 1 << 17  # numbers of 8 bytes: 1 MiB


def fill(array: Any, value: int) -> Any:
    array[:] = value
    return array


def fill_and_die_once(array: Any, marker: str) -> int:
    seen = int(array.sum())
    array[:] = 7
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return seen
    os.kill(os.getpid(), signal.SIGKILL)
    return -1


def pid_and(array: Any) -> tuple[int, Any]:
    return os.getpid(), array


def total(array: Any) -> int:
    return int(array.sum())


def test_an_argument_is_a_copy_made_at_submit() -> None:
    """What the caller does to an array after submit, and what the task does to it, stays with each."""
    with Pool(1, backend="process") as pool:
        array = np.ones(N, dtype=np.int64)
        gate = pool.event()
        first = pool.submit(gate.wait)
        task = pool.submit(fill, array, 3)
        again = pool.submit(total, array)
        array[:] = 100
        gate.set()
        assert first.result(timeout=30)
        result = task.result(timeout=30)
        assert (result == 3).all()
        assert again.result(timeout=30) == N
        assert (array == 100).all()
        result[0] = 4  # a result may be written to


def test_results_that_are_kept_stay_as_they_are() -> None:
    """However many results are kept, later ones do not lie over them."""
    with Pool(2, backend="process") as pool:
        results = list(pool.map(fill, (np.zeros(N, dtype=np.int64) for _ in range(40)), range(40)))
        assert [int(r[0]) for r in results] == list(range(40))
        assert all((r == i).all() for i, r in enumerate(results))
    assert all((r == i).all() for i, r in enumerate(results))


def test_a_retry_sees_the_argument_as_it_was(tmp_path: Path) -> None:
    """The attempt that was killed wrote into its argument; the next one does not see it."""
    with Pool(1, backend="process", retries=1) as pool:
        array = np.ones(N, dtype=np.int64)
        assert pool.submit(fill_and_die_once, array, str(tmp_path / "died")).result(timeout=30) == N
        del array


def test_a_result_outlives_its_worker() -> None:
    """The memory of a result does not go with the process that made it."""
    with Pool(1, backend="process") as pool:
        pid, result = pool.submit(pid_and, np.arange(N)).result(timeout=30)
        os.kill(pid, signal.SIGKILL)
        other, _ = pool.submit(pid_and, np.arange(N)[::-1].copy()).result(timeout=30)
        assert other != pid
        assert (result == np.arange(N)).all()


@pytest.mark.parametrize("size", [1, 1 << 18, 3 << 20])
def test_without_a_depot_all_goes_through_pipes(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory cannot be lent, large payloads are as right as ever."""
    monkeypatch.setattr(depot, "CAN_LEND", False)
    with Pool(1, backend="process") as pool:
        result = pool.submit(fill, np.ones(size, dtype=np.uint8), 9).result(timeout=30)
        assert result.shape == (size,)
        assert (result == 9).all()


class Scale:
    """A callable that carries much with it."""

    def __init__(self) -> None:
        self.table = np.arange(N)

    def __call__(self, item: int) -> int:
        return int(self.table[item]) * 2

    def at(self, item: int) -> int:
        return int(self.table[item])


@pytest.mark.parametrize("lends", [True, False])
def test_a_function_that_carries_much_is_as_good_as_any(
    lends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callables with large insides work in map and submit, in memory that is lent and through the pipe."""
    if not lends:
        monkeypatch.setattr(depot, "CAN_LEND", False)
    with Pool(2, backend="process") as pool:
        scale = Scale()
        assert list(pool.map(scale, range(300))) == [2 * n for n in range(300)]
        failed = list(pool.map(scale.at, [N, 0, N + 1], return_exceptions=True))
        assert [type(one) for one in failed] == [IndexError, int, IndexError]
        assert pool.submit(scale.at, 7).result(timeout=30) == 7


def test_arguments_go_through_the_pipe_when_slots_are_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that holds very much is sent the rest through its pipe."""
    monkeypatch.setattr(depot.Slots, "take", lambda _: -1)
    with Pool(1, backend="process") as pool:
        assert pool.submit(total, np.ones(N, dtype=np.int64)).result(timeout=30) == N
        assert list(pool.map(total, [np.ones(N, dtype=np.int64)] * 3)) == [N] * 3


def test_an_interrupted_worker_gives_its_rooms_back() -> None:
    """A worker that is killed with large arguments at hand keeps no memory of the pool."""
    with Pool(1, backend="process") as pool:
        lender: Any = pool._backend
        gate = pool.event()
        for _ in range(5):
            task = pool.submit(hold, np.ones(N, dtype=np.int64), gate)
            gate.wait(timeout=30)
            gate.clear()
            assert task.cancel(kill=True)
        assert lender.depot._end <= 3 << 20


def test_memory_of_large_payloads_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing large comes for a while, both sides give their free memory back."""
    monkeypatch.setattr(feeding, "_TRIM_AFTER", 0.05)
    with Pool(1, backend="process") as pool:
        pool.submit(fill, np.ones(N, dtype=np.int64), 1).result(timeout=30)
        backend: Any = pool._backend
        worker: Any = pool._scheduler.workers[0]
        files = [backend.depot.fd, worker._handle.depot_fd]
        until = monotonic() + 30
        while any(os.fstat(fd).st_blocks * 512 >= 8 * N for fd in files):
            assert monotonic() < until
            gc.collect()
            pool.submit(total, 0).exception(timeout=30)
        assert worker._trim_at is None


def hold(array: Any, gate: Any) -> None:
    array[:] = 1
    gate.set()
    signal.pause()
