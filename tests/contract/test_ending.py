"""shutdown, close, kill, the with block, and a pool that is simply let go."""

from __future__ import annotations

import concurrent.futures
import gc
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError

import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.queues import until
from workpool import Pool, PoolClosed, Task, WorkerLost

REFUSAL = "cannot schedule new futures after shutdown"


def refuses_everything(pool: Pool) -> bool:
    """Tell whether every call that would bring work is refused."""
    view = pool.options(name="view")
    calls: list[Callable[[], object]] = [
        lambda: pool.submit(tasks.double, 1),
        lambda: view.submit(tasks.double, 1),
        lambda: pool.map(tasks.double, [1]),
        lambda: pool.map(tasks.double, iter([1])),
        lambda: pool.map(tasks.double, [1], chunksize=1),
        lambda: pool.map(tasks.double, iter([1]), chunksize=1),
        lambda: pool.starmap(tasks.add, [(1, 2)]),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match=REFUSAL) as caught:
            call()
        assert isinstance(caught.value, PoolClosed)
    return True


def test_the_block_waits_for_everything(kind: Kind) -> None:
    """At the end of the with block all tasks are done and the pool is closed."""
    with Pool(2, **kind.settings) as pool:
        submitted = [pool.submit(tasks.double, n) for n in range(50)]
    assert [task.result(timeout=0) for task in submitted] == [2 * n for n in range(50)]
    assert refuses_everything(pool)
    assert pool.unfinished == 0


def test_shutdown_waits_and_closes(pool: Pool) -> None:
    """shutdown() lets what was accepted run, and then refuses all."""
    submitted = [pool.submit(tasks.double, n) for n in range(50)]
    pool.shutdown()
    assert [task.result(timeout=0) for task in submitted] == [2 * n for n in range(50)]
    assert refuses_everything(pool)
    pool.join(DEADLINE)


@pytest.mark.needs("concurrent")
def test_shutdown_returns_when_all_is_given_back(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the thread of the last worker does that, which has left the list of workers already."""
    pool = make_pool(1)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    closing, let_go, closed = threading.Event(), threading.Event(), threading.Event()
    close = pool._backend.close

    def close_slowly() -> None:
        closing.set()
        assert let_go.wait(DEADLINE)
        close()
        closed.set()

    monkeypatch.setattr(pool._backend, "close", close_slowly)
    pool.close()
    assert closing.wait(DEADLINE)
    ending = in_background(pool.shutdown)
    until(lambda: bool(pool._scheduler._ending and pool._scheduler._ending[1]._sleepers))
    assert not ending.ended
    let_go.set()
    ending.result()
    assert closed.is_set()


@pytest.mark.needs("concurrent")
@pytest.mark.parametrize("interrupted", [False, True])
def test_two_that_shut_down_at_once_return_when_all_is_given_back(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    """One of them does it, and the other waits; or does it, if the first is torn out of it by Ctrl-C."""
    pool = make_pool(1)
    closing, let_go = threading.Event(), threading.Event()
    close = pool._backend.close
    calls: list[int] = []

    def close_slowly() -> None:
        calls.append(threading.get_ident())
        if len(calls) == 1:
            closing.set()
            assert let_go.wait(DEADLINE)
            if interrupted:
                raise KeyboardInterrupt
        close()

    monkeypatch.setattr(pool._backend, "close", close_slowly)
    first = in_background(pool.shutdown)  # no worker was ever started: it gives back what there is
    assert closing.wait(DEADLINE)
    second = in_background(pool.shutdown)
    until(lambda: bool(pool._scheduler._ending and pool._scheduler._ending[1]._sleepers))
    assert not second.ended
    let_go.set()
    second.result()
    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            first.result()
    else:
        first.result()
    assert len(calls) == 1 + interrupted
    assert len(set(calls)) == len(calls)
    pool.shutdown()
    assert len(calls) == 1 + interrupted


def test_a_refused_call_leaves_no_trace(pool: Pool) -> None:
    """What a closed pool refused is neither counted nor waited for."""
    pool.shutdown()
    assert refuses_everything(pool)
    pool.join(DEADLINE)
    assert pool.unfinished == 0
    pool.shutdown()


def test_shutdown_may_be_called_again(pool: Pool, busy: Busy) -> None:
    """Twice, from several threads, and after close() or kill()."""
    with busy(pool):
        pool.close()
        shutdowns = [in_background(pool.shutdown) for _ in range(3)]
    for shutdown in shutdowns:
        shutdown.result()
    pool.shutdown(wait=False)
    pool.kill()
    pool.shutdown(cancel_futures=True)


def test_a_pool_that_was_never_used_ends(make_pool: MakePool) -> None:
    """No worker is started for nothing, and every way to end works."""
    with make_pool() as pool:
        assert pool.stats().workers == 0
    make_pool().shutdown()
    make_pool().close()
    make_pool().kill()


def test_shutdown_without_waiting_still_runs_what_is_queued(pool: Pool, busy: Busy) -> None:
    """shutdown(wait=False) and close() refuse new work and run what was accepted."""
    with busy(pool):
        submitted = [pool.submit(tasks.double, n) for n in range(10)]
        results = pool.map(tasks.double, range(10))
        pool.shutdown(wait=False)
        assert refuses_everything(pool)
        assert not submitted[0].done()
    assert [task.result(DEADLINE) for task in submitted] == [2 * n for n in range(10)]
    assert list(results) == [2 * n for n in range(10)]


def test_shutdown_can_cancel_what_has_not_started(pool: Pool, busy: Busy) -> None:
    """With cancel_futures queued tasks are cancelled, running ones end in peace."""
    with busy(pool):
        submitted = [pool.submit(tasks.double, n) for n in range(10)]
        running = pool.unfinished - 10
        pool.shutdown(wait=False, cancel_futures=True)
        assert all(task.cancelled() for task in submitted)
        assert pool.unfinished == running
    pool.shutdown()
    assert pool.stats().done == running


def test_cancelling_a_hundred_thousand_tasks_is_quick(
    make_pool: MakePool, busy: Busy, kind: Kind
) -> None:
    """shutdown(cancel_futures=True) of a long queue takes far less than two seconds."""
    pool = make_pool(1)
    with busy(pool):
        submitted = [pool.submit(tasks.double, n) for n in range(100_000)]
        called: list[object] = []
        for task in submitted[::1000]:
            task.add_done_callback(called.append)
        began = time.process_time()
        pool.shutdown(wait=False, cancel_futures=True)
        assert time.process_time() - began < 2.0
        assert all(task.cancelled() for task in submitted)
        assert called == submitted[::1000]


def test_cancelled_futures_call_back_and_are_counted(pool: Pool, busy: Busy) -> None:
    """Who waits for a task in any way hears of the cancelling shutdown."""
    with busy(pool):
        task = pool.submit(tasks.double, 1)
        waiter = in_background(task.result, DEADLINE)
        called: list[object] = []
        task.add_done_callback(called.append)
        all_of_them = in_background(concurrent.futures.wait, [task], DEADLINE)
        pool.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(CancelledError):
            waiter.result()
        assert all_of_them.result().done == {task}
        assert called == [task]


# ----------------------------------------------------------------------------- kill


def test_kill_cancels_what_is_queued(pool: Pool, busy: Busy) -> None:
    """After kill() nothing is pending: queued tasks are cancelled, maps end."""
    with busy(pool):
        task = pool.submit(tasks.double, 1)
        results = pool.map(tasks.double, range(100))
        lazy = pool.map(tasks.double, iter(range(100)))
        pool.kill()
        assert task.cancelled()
        for each in (results, lazy):
            with pytest.raises((CancelledError, WorkerLost)):
                list(each)
        assert refuses_everything(pool)


@pytest.mark.needs("limits")
def test_kill_loses_what_runs(pool: Pool, gate: Gate) -> None:
    """A running task fails with WorkerLost at once, which names it and its worker."""
    task = pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    in_background(pool.kill).result()
    error = task.exception(DEADLINE)
    assert isinstance(error, WorkerLost)
    assert isinstance(error, BrokenExecutor)
    assert error.task == "hold"
    assert error.worker == 0
    assert "hold" in str(error)


@pytest.mark.needs("limits")
@pytest.mark.parametrize("chunksize", [None, 1, 10])
def test_kill_loses_items_that_run(pool: Pool, gate: Gate, chunksize: int | None) -> None:
    """The consumer of a map hears of the kill instead of waiting for ever."""
    results = pool.map(tasks.holding(gate.path, held=0), range(100), chunksize=chunksize)
    gate.arrival()
    in_background(pool.kill).result()
    with pytest.raises((CancelledError, WorkerLost)):
        in_background(list[int], results).result()


@pytest.mark.needs("limits")
@pytest.mark.parametrize("chunksize", [None, 1, 10])
def test_nothing_is_unfinished_after_kill(pool: Pool, gate: Gate, chunksize: int | None) -> None:
    """join() of a killed pool returns, whatever a written-off thread goes on doing."""
    results = pool.map(tasks.holding(gate.path, held=0), range(100), chunksize=chunksize)
    task = pool.submit(tasks.double, 1)
    gate.arrival()
    in_background(pool.kill).result()
    pool.join(DEADLINE)
    assert pool.unfinished == 0
    assert task.done()
    del results


@pytest.mark.needs("limits")
def test_kill_does_not_retry(make_pool: MakePool, gate: Gate) -> None:
    """A task that was killed with its pool is not run again."""
    pool = make_pool(1, retries=3)
    task = pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    in_background(pool.kill).result()
    assert isinstance(task.exception(DEADLINE), WorkerLost)
    assert task.attempts == 1


@pytest.mark.lacks("limits")
def test_kill_where_nothing_can_be_ended(pool: Pool) -> None:
    """In the caller's own thread what runs comes to its end; the rest is cancelled."""
    with Gate() as gate:
        running = in_background(pool.submit, tasks.hold, gate.path, 1)
        gate.arrival()
        queued = pool.submit(tasks.double, 1)
        pool.kill()
        assert queued.cancelled()
        gate.open()
        assert running.result().done()
    pool.join(DEADLINE)


def test_ctrl_c_in_the_block_kills(kind: Kind) -> None:
    """A with block that is left by Ctrl-C waits for nothing."""
    submitted: list[Task[int]] = []

    def use() -> None:
        with Pool(1, **kind.settings) as pool:
            if kind.can("concurrent"):
                submitted.append(pool.submit(tasks.hold, gate.path, 1))
                gate.arrival()
                submitted.append(pool.submit(tasks.double, 1))
            raise KeyboardInterrupt

    with Gate() as gate:
        with pytest.raises(KeyboardInterrupt):
            in_background(use).result()
        assert not concurrent.futures.wait(submitted, DEADLINE).not_done  # the gate is shut still


def test_an_error_in_the_block_still_waits(kind: Kind) -> None:
    """Left by an error, the block runs what was queued, like the standard pools."""
    submitted: list[Task[int]] = []

    def use() -> None:
        with Pool(1, **kind.settings) as pool:
            submitted.extend(pool.submit(tasks.double, n) for n in range(10))
            raise LookupError("in the block")

    with pytest.raises(LookupError, match="in the block"):
        in_background(use).result()
    assert [task.result(timeout=0) for task in submitted] == [2 * n for n in range(10)]


# ----------------------------------------------------------------------- let go of


def test_a_pool_that_is_let_go_runs_what_is_queued(kind: Kind) -> None:
    """Without shutdown, the queue is drained and then the workers end by themselves."""
    with Gate() as gate:
        pool = Pool(1, **kind.settings)
        if kind.can("concurrent"):
            pool.submit(tasks.hold, gate.path, 0)
            gate.arrival()
        submitted = [pool.submit(tasks.double, n) for n in range(10)]
        results = pool.map(tasks.double, range(10))
        gone = weakref.ref(pool)
        del pool
        assert gone() is None
    assert [task.result(DEADLINE) for task in submitted] == [2 * n for n in range(10)]
    assert list(results) == [2 * n for n in range(10)]
    # That its workers ended is seen by the check around every test.


def test_an_idle_pool_that_is_let_go_ends_its_workers(kind: Kind) -> None:
    """Workers that sleep are woken to leave."""
    pool = Pool(2, **kind.settings)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    del pool


def test_a_pool_in_a_cycle_is_let_go_as_well(kind: Kind) -> None:
    """The garbage collector finds a pool that only knows itself."""
    pool = Pool(2, **kind.settings)
    pool.__dict__["itself"] = pool
    task = pool.submit(tasks.double, 1)
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert task.result(DEADLINE) == 2


def test_a_task_does_not_keep_its_pool(kind: Kind) -> None:
    """Futures outlive pools, not the other way round."""
    pool = Pool(2, **kind.settings)
    task = pool.submit(tasks.double, 1)
    view = pool.options(name="x")
    gone = weakref.ref(pool)
    del pool
    assert gone() is not None  # the view keeps it open
    assert view.submit(tasks.double, 2).result(DEADLINE) == 4
    del view
    assert gone() is None
    assert task.result(DEADLINE) == 2


@pytest.mark.lacks("far")  # engines keep more, and longer
def test_a_pool_that_has_ended_needs_no_collector(kind: Kind) -> None:
    """What it had is free when nobody has it any more, and not when Python looks for cycles."""
    gc.collect()
    gc.disable()
    try:
        with Pool(1, **kind.settings) as pool:
            assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
            assert list(pool.map(tasks.double, range(3))) == [0, 2, 4]
        scheduler = weakref.ref(pool._scheduler)
        del pool
        until(lambda: scheduler() is None)  # its threads are on their last steps, maybe
    finally:
        gc.enable()
