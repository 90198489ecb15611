"""joblib's loops on workpool's workers."""

from __future__ import annotations

import os
from collections.abc import Generator

import numpy as np
import pytest

import workpool.integrations.joblib as integration
from tests.support import joblib_calls as calls
from tests.support.backends import Kind
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.joblib_calls import joblib
from tests.support.scripts import printed_by
from workpool import Pool


def open_when_both_are_there(gate: Gate) -> None:
    gate.arrivals(2)
    gate.open()


@pytest.fixture(scope="module")
def two_workers() -> Generator[None]:
    """Keep two workers for the loops of several tests: each imports joblib when it starts."""
    with joblib.parallel_config("workpool", n_jobs=2):
        with Gate() as gate:
            opener = in_background(open_when_both_are_there, gate)
            joblib.Parallel(batch_size=1)(joblib.delayed(calls.meet)(gate.path) for _ in range(2))
            opener.result()
        yield
    integration.close()


@pytest.fixture
def own_workers() -> Generator[None]:
    """End the pools that a test has made."""
    integration.close()
    yield
    integration.close()


def test_a_loop_runs_in_worker_processes(two_workers: None) -> None:
    """parallel_config("workpool") is all that a program needs to say."""
    assert joblib.Parallel()(joblib.delayed(calls.square)(n) for n in range(100)) == [
        n * n for n in range(100)
    ]
    pids = set(joblib.Parallel()(joblib.delayed(calls.who)(n) for n in range(20)))
    assert os.getpid() not in pids
    assert len(pids) <= 2


def test_workers_stay_for_the_next_loop(two_workers: None) -> None:
    """What a worker has imported is there for the next loop, too."""
    first = set(joblib.Parallel(batch_size=1)(joblib.delayed(calls.who)(n) for n in range(50)))
    second = set(joblib.Parallel(batch_size=1)(joblib.delayed(calls.who)(n) for n in range(50)))
    assert len(first | second) <= 2


def test_loops_in_loops_are_threads(two_workers: None) -> None:
    """A loop inside a call runs in threads of that worker: no processes by the square."""
    for pid, results, inner in joblib.Parallel()(
        joblib.delayed(calls.inner_loop)(n) for n in range(1, 5)
    ):
        assert inner == pid != os.getpid()
        assert results == [n * n for n in range(len(results))]


def test_arrays_travel(two_workers: None) -> None:
    """Large arrays reach the workers whole."""
    array = np.arange(300_000, dtype=np.float64)
    sums = joblib.Parallel()(joblib.delayed(calls.total)(array[n:]) for n in range(4))
    assert sums == [float(array[n:].sum()) for n in range(4)]


def test_minus_one_is_all_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """n_jobs=-1 is as many workers as CPUs may be used, -2 one less; 0 has no meaning."""
    monkeypatch.setattr("workpool.backends.process.cpus.usable_cpus", lambda: 3)
    backend = integration.WorkpoolBackend()
    assert [backend.effective_n_jobs(n) for n in (-1, -2, -9, 1, 7, None)] == [3, 2, 1, 1, 7, 1]
    with pytest.raises(ValueError, match="n_jobs == 0"):
        backend.effective_n_jobs(0)
    with Pool(2) as pool:
        given = integration.WorkpoolBackend(pool=pool)
        assert [given.effective_n_jobs(n) for n in (-1, -2, 7)] == [2, 1, 2]


def test_one_job_needs_no_workers() -> None:
    """n_jobs=1 runs in the caller's process, as with every backend of joblib."""
    with joblib.parallel_config("workpool", n_jobs=1):
        assert set(joblib.Parallel()(joblib.delayed(calls.who)(n) for n in range(3))) == {
            os.getpid()
        }


def test_an_error_is_raised_and_the_pool_goes_on(own_workers: None) -> None:
    """A call's error comes as it was raised, and the next loop runs."""
    with joblib.parallel_config("workpool", n_jobs=2):
        with pytest.raises(LookupError, match="7"):
            joblib.Parallel()(joblib.delayed(calls.fail_at)(n, 7) for n in range(1_000))
        assert joblib.Parallel()(joblib.delayed(calls.square)(n) for n in range(5)) == [
            0,
            1,
            4,
            9,
            16,
        ]


def test_an_error_ends_what_still_runs(own_workers: None) -> None:
    """A long call of a loop that failed does not keep its worker."""
    with Gate() as gate, joblib.parallel_config("workpool", n_jobs=2):
        loop = joblib.Parallel(batch_size=1, pre_dispatch="all")
        opener = in_background(open_when_both_are_there, gate)
        with pytest.raises(LookupError):
            loop(joblib.delayed(calls.fail_or_hold)(n, gate.path) for n in range(50))
        opener.result()
        kept = integration._kept[2, None].pool
        kept.join(DEADLINE)  # what was running was ended, or this would be too late
        assert joblib.Parallel()(joblib.delayed(calls.square)(n) for n in range(3)) == [0, 1, 4]


@pytest.mark.filterwarnings("ignore:.*tasks (have been|which were) :UserWarning")
def test_results_can_be_a_generator(own_workers: None) -> None:
    """return_as="generator" gives results as they come, and may be let go of half-way."""
    with joblib.parallel_config("workpool", n_jobs=2):
        results = joblib.Parallel(return_as="generator")(
            joblib.delayed(calls.square)(n) for n in range(50)
        )
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        del results
        assert joblib.Parallel()(joblib.delayed(calls.square)(n) for n in range(3)) == [0, 1, 4]


def test_a_pool_can_be_given() -> None:
    """A pool of yours runs the loop on its terms, and stays open."""
    with Pool(2, backend="process", name="mine") as pool:
        with joblib.parallel_config("workpool", pool=pool, n_jobs=-1):
            pids = set(
                joblib.Parallel(batch_size=1)(joblib.delayed(calls.who)(n) for n in range(20))
            )
            assert os.getpid() not in pids
            assert pool.submit(calls.square, 3).result(DEADLINE) == 9
        assert pool.stats().done >= 21
        assert integration._kept == {}


def test_a_pool_of_threads_shares_memory() -> None:
    """require="sharedmem" is kept by a pool of threads, and refused to processes by joblib."""
    seen: list[int] = []
    with Pool(2) as pool, joblib.parallel_config("workpool", pool=pool, n_jobs=2):
        joblib.Parallel(require="sharedmem")(joblib.delayed(seen.append)(n) for n in range(20))
        assert sorted(seen) == list(range(20))
        assert pool.stats().done >= 1


def test_something_else_is_no_pool() -> None:
    """pool= takes a Pool, and says so at once."""
    with pytest.raises(TypeError, match="pool"):
        integration.WorkpoolBackend(pool=8)  # type: ignore[arg-type]  # on purpose


def test_pools_of_other_sizes_are_ended(own_workers: None) -> None:
    """A pool of another size is ended when nobody uses it, and kept while somebody does."""
    with joblib.parallel_config("workpool", n_jobs=3):
        joblib.Parallel()(joblib.delayed(calls.square)(n) for n in range(3))
        assert list(integration._kept) == [(3, None)]
    first = integration._kept[3, None].pool
    with joblib.parallel_config("workpool", n_jobs=2), joblib.Parallel() as two:
        two(joblib.delayed(calls.square)(n) for n in range(3))
        assert list(integration._kept) == [(2, None)]
        with pytest.raises(RuntimeError):
            first.submit(calls.square, 1)
        joblib.Parallel(n_jobs=3)(joblib.delayed(calls.square)(n) for n in range(3))
        assert sorted(integration._kept) == [(2, None), (3, None)]
        assert two(joblib.delayed(calls.square)(n) for n in range(3)) == [0, 1, 4]


def test_inner_threads_can_be_limited(own_workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """inner_max_num_threads is what numeric libraries of each worker are told; a pool knows its own."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with joblib.parallel_config("workpool", n_jobs=2, inner_max_num_threads=3):
        told = joblib.Parallel()(joblib.delayed(calls.openmp_threads)(n) for n in range(2))
    assert told == ["3", "3"]
    given = joblib.parallel_config("workpool", pool=Pool(2), inner_max_num_threads=1)
    with given, pytest.raises(ValueError, match="blas_threads"):
        joblib.Parallel(n_jobs=2)(joblib.delayed(calls.square)(n) for n in range(2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_pools_of_its_own() -> None:
    """Those that were kept stayed in the parent, as did any that a loop used; its loops go on there."""
    script = """
    import os, warnings
    import workpool.integrations.joblib as integration
    from tests.support.joblib_calls import joblib, square
    warnings.simplefilter("ignore")
    def loop():
        return joblib.Parallel()(joblib.delayed(square)(n) for n in range(4))
    with joblib.parallel_config("workpool", n_jobs=2):
        print(loop(), flush=True)
        child = os.fork()
        if child == 0:
            print(loop(), len(integration._kept), flush=True)
            integration.close()
            os._exit(len(integration._kept))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), loop())
    integration.close()
    """
    printed = printed_by(Kind("process", frozenset()), script)
    assert printed == ["[0, 1, 4, 9]", "[0, 1, 4, 9] 1", "0 [0, 1, 4, 9]"]
