"""submit: one call on the queue, and the task it gives: its result, its facts, its cancel."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from concurrent.futures import CancelledError, Future, InvalidStateError
from functools import partial

import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from workpool import Pool, Task


def test_submit_gives_a_future_of_the_result(pool: Pool) -> None:
    """A task is a concurrent.futures.Future of what the function returns."""
    task = pool.submit(tasks.double, 21)
    assert isinstance(task, Future)
    assert isinstance(task, Task)
    assert task.result(DEADLINE) == 42
    assert task.exception(DEADLINE) is None


def test_submit_passes_every_argument(pool: Pool) -> None:
    """Positional and keyword arguments arrive as they were given, also those named self and fn."""
    task = pool.submit(tasks.arguments, 1, "b", self=2, fn=3, task=4, timeout=5, args=6, kwargs=7)
    expected = {"self": 2, "fn": 3, "task": 4, "timeout": 5, "args": 6, "kwargs": 7}
    assert task.result(DEADLINE) == ((1, "b"), expected)


def test_submit_takes_any_callable(pool: Pool) -> None:
    """Partials, bound methods, classes and built-ins run like functions."""
    assert pool.submit(partial(tasks.add, 1), b=2).result(DEADLINE) == 3
    assert pool.submit("a-b".split, "-").result(DEADLINE) == ["a", "b"]
    assert pool.submit(complex, 1, 2).result(DEADLINE) == 1 + 2j
    assert pool.submit(pow, 2, 5).result(DEADLINE) == 32
    # Each is bound to an object of its own, which no earlier call has changed.
    assert [pool.submit([1, 2, 3].pop).result(DEADLINE) for _ in range(3)] == [3, 3, 3]


def test_submit_takes_lambdas_and_closures(pool: Pool) -> None:
    """A function need not have a name to travel."""
    offset = 40
    assert pool.submit(lambda n: n + offset, 2).result(DEADLINE) == 42


def test_many_tasks_all_run_once(pool: Pool) -> None:
    """Every task runs, and none twice."""
    submitted = [pool.submit(tasks.double, n) for n in range(500)]
    assert [task.result(DEADLINE) for task in submitted] == [2 * n for n in range(500)]


def test_submit_from_many_threads(pool: Pool) -> None:
    """Threads may submit at once; each gets its own results."""

    def use(base: int) -> list[int]:
        return [pool.submit(tasks.double, base + n).result(DEADLINE) for n in range(20)]

    users = [in_background(use, 100 * n) for n in range(4)]
    for n, user in enumerate(users):
        assert user.result() == [2 * (100 * n + m) for m in range(20)]


def test_an_error_is_raised_by_result(pool: Pool) -> None:
    """What the function raises is raised by result() and given by exception()."""
    task = pool.submit(tasks.fail_with, LookupError, "there is no such thing")
    with pytest.raises(LookupError, match="no such thing"):
        task.result(DEADLINE)
    assert isinstance(task.exception(DEADLINE), LookupError)
    assert task.done()
    assert not task.cancelled()


def test_the_traceback_leads_to_the_function(pool: Pool) -> None:
    """The line that raised can be read off the error or its cause."""
    import traceback

    error = pool.submit(tasks.fail_with, LookupError, "x").exception(DEADLINE)
    assert error is not None
    assert "in fail_with" in "".join(traceback.format_exception(error))


def test_a_worker_goes_on_after_an_error(make_pool: MakePool) -> None:
    """An error is the task's, not the worker's."""
    pool = make_pool(1)
    failed = pool.submit(tasks.fail_with, ValueError)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    assert isinstance(failed.exception(DEADLINE), ValueError)


@pytest.mark.needs("concurrent")
def test_waiting_ends_with_the_timeout(pool: Pool, gate: Gate) -> None:
    """result() and exception() raise TimeoutError, and the task goes on."""
    task = pool.submit(tasks.hold, gate.path, "kept")
    gate.arrival()
    with pytest.raises(TimeoutError):
        task.result(timeout=0.01)
    with pytest.raises(concurrent.futures.TimeoutError):
        task.exception(timeout=0)
    assert task.running()
    gate.open()
    assert task.result(DEADLINE) == "kept"


def test_an_endless_timeout_is_a_long_one(pool: Pool) -> None:
    """Timeouts beyond what the system can count wait as long as it takes."""
    assert pool.submit(tasks.double, 1).result(float("inf")) == 2
    assert pool.submit(tasks.double, 1).result(1e30) == 2


# ----------------------------------------------------------------------- its facts


def test_a_task_knows_its_name_and_number(pool: Pool) -> None:
    """Ids count from 0 in the order of submission; the name is the function's."""
    submitted = [pool.submit(tasks.double, n) for n in range(3)]
    assert [task.id for task in submitted] == [0, 1, 2]
    assert submitted[0].name == "double"
    pool.join(DEADLINE)
    assert submitted[0].name == "double"
    assert "double" in repr(submitted[0])
    assert "finished" in repr(submitted[0])


def test_a_partial_is_named_for_what_it_wraps(pool: Pool) -> None:
    """The name of a task says what runs, not how it was packed."""
    assert pool.submit(partial(tasks.add, 1, 2)).name == "add"


def test_a_task_knows_where_and_how_often_it_ran(make_pool: MakePool) -> None:
    """Worker and attempts are there once it has run, and unset before."""
    pool = make_pool(1)
    fresh = pool.submit(tasks.worker_index)
    assert fresh.result(DEADLINE) == 0
    assert fresh.worker == 0
    assert fresh.attempts == 1
    assert Task[int]().worker is None
    assert Task[int]().attempts == 0


@pytest.mark.needs("concurrent")
def test_a_task_tells_how_long_it_waited_and_ran(make_pool: MakePool, gate: Gate) -> None:
    """Both times grow while they last and stand still afterwards."""
    pool = make_pool(1)
    first = pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    second = pool.submit(tasks.double, 1)
    assert first.ran_for > 0
    waited = second.queued_for
    assert second.queued_for > waited > 0
    assert second.ran_for == 0
    gate.open()
    pool.join(DEADLINE)
    assert first.ran_for == first.ran_for > 0
    assert second.queued_for == second.queued_for > waited
    assert second.ran_for >= 0


def test_a_queued_task_is_neither_running_nor_done(pool: Pool, busy: Busy) -> None:
    """The future's questions are answered truly in each state."""
    with busy(pool):
        task = pool.submit(tasks.double, 1)
        assert (task.running(), task.done(), task.cancelled()) == (False, False, False)
        assert task.worker is None
    assert task.result(DEADLINE) == 2
    assert (task.running(), task.done(), task.cancelled()) == (False, True, False)


# ----------------------------------------------------------------------- cancelling


def test_cancel_takes_a_queued_task_back(pool: Pool, busy: Busy) -> None:
    """A task that has not started can be cancelled, more than once, and never runs."""
    with Gate() as seen:
        with busy(pool):
            task = pool.submit(tasks.report, seen.path, "ran")
            assert task.cancel()
            assert task.cancel()
            assert (task.running(), task.done(), task.cancelled()) == (False, True, True)
            with pytest.raises(CancelledError):
                task.result(DEADLINE)
            with pytest.raises(CancelledError):
                task.exception(DEADLINE)
        pool.join(DEADLINE)
        assert seen.waiting() == []


@pytest.mark.needs("concurrent")
def test_cancel_leaves_a_running_task_alone(pool: Pool, gate: Gate) -> None:
    """A task that runs is not cancelled without kill."""
    task = pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    assert not task.cancel()
    gate.open()
    assert task.result(DEADLINE) == 1


def test_cancel_leaves_a_finished_task_alone(pool: Pool) -> None:
    """What is done stays done, also against kill."""
    task = pool.submit(tasks.double, 1)
    assert task.result(DEADLINE) == 2
    assert not task.cancel()
    assert not task.cancel(kill=True)
    assert task.result(0) == 2


def test_cancel_with_kill_takes_a_queued_task_back(pool: Pool, busy: Busy) -> None:
    """Kill or not, what has not started is simply cancelled."""
    with busy(pool):
        task = pool.submit(tasks.double, 1)
        assert task.cancel(kill=True)
        assert task.cancelled()


@pytest.mark.needs("limits")
def test_cancel_with_kill_ends_a_running_task(make_pool: MakePool, gate: Gate) -> None:
    """A task that runs is cancelled at once, and its worker is replaced under the same index."""
    pool = make_pool(1)
    task = pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    assert task.cancel(kill=True)
    assert task.cancelled()
    with pytest.raises(CancelledError):
        task.result(DEADLINE)
    assert pool.submit(tasks.worker_index).result(DEADLINE) == 0
    pool.join(DEADLINE)
    assert pool.unfinished == 0


@pytest.mark.lacks("limits")
def test_cancel_with_kill_says_what_it_cannot(pool: Pool) -> None:
    """Where no task can be ended, cancel(kill=True) leaves it alone and says so."""
    with Gate() as gate:
        running = in_background(pool.submit, tasks.hold, gate.path, 1)
        gate.arrival()
        queued = pool.submit(tasks.double, 1)
        assert queued.cancel(kill=True)
        gate.open()
        task = running.result()
    assert not task.cancel(kill=True)
    assert task.result(0) == 1


# ----------------------------------------------------------------------- callbacks


def test_callbacks_are_called_with_the_task(pool: Pool, busy: Busy) -> None:
    """Callbacks run in order, once each; one added later runs at once."""
    seen: list[tuple[str, object]] = []
    with busy(pool):
        task = pool.submit(tasks.double, 1)
        task.add_done_callback(lambda done: seen.append(("first", done)))
        task.add_done_callback(lambda done: seen.append(("second", done)))
    pool.join(DEADLINE)
    assert seen == [("first", task), ("second", task)]
    task.add_done_callback(lambda done: seen.append(("late", done)))
    assert seen[2:] == [("late", task)]


def test_a_cancelled_task_calls_back(pool: Pool, busy: Busy) -> None:
    """Cancelling is an end like any other."""
    seen: list[Future[int]] = []
    with busy(pool):
        task = pool.submit(tasks.double, 1)
        task.add_done_callback(seen.append)
        task.cancel()
        assert seen == [task]


def test_a_callback_that_raises_is_logged(
    pool: Pool, busy: Busy, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error goes to the log; the other callbacks run and the task keeps its result."""
    seen: list[Future[int]] = []
    with caplog.at_level(logging.ERROR, logger="concurrent.futures"):
        with busy(pool):
            task = pool.submit(tasks.double, 1)
            task.add_done_callback(lambda _: tasks.fail_with(ValueError, "in a callback"))
            task.add_done_callback(seen.append)
        pool.join(DEADLINE)
    assert task.result(0) == 2
    assert seen == [task]
    assert "in a callback" in caplog.text


def test_a_callback_that_exits_takes_nothing_along(make_pool: MakePool, busy: Busy) -> None:
    """Also after SystemExit in a callback the task is counted done and a worker is there."""
    pool = make_pool(1)
    with busy(pool):
        task = pool.submit(tasks.double, 1)
        task.add_done_callback(lambda _: tasks.fail_with(SystemExit, 1))
    assert task.result(DEADLINE) == 2
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
    pool.join(DEADLINE)


def test_a_callback_may_submit(pool: Pool, busy: Busy) -> None:
    """A callback may use the pool; join waits for what it submits in time."""
    more: list[Task[int]] = []
    with busy(pool):
        task = pool.submit(tasks.double, 1)
        task.add_done_callback(lambda done: more.append(pool.submit(tasks.double, done.result())))
    assert task.result(DEADLINE) == 2
    pool.join(DEADLINE)
    pool.join(DEADLINE)
    assert [each.result(0) for each in more] == [4]


@pytest.mark.needs("concurrent")
def test_join_waits_for_callbacks(pool: Pool, gate: Gate) -> None:
    """A task counts as done when its callbacks have run."""
    inside, go = threading.Event(), threading.Event()

    def callback(_: Future[int]) -> None:
        inside.set()
        assert go.wait(DEADLINE)

    task = pool.submit(tasks.hold, gate.path, 1)
    task.add_done_callback(callback)
    gate.open()
    assert inside.wait(DEADLINE)
    try:
        assert task.done()
        with pytest.raises(TimeoutError):
            pool.join(0)
    finally:
        go.set()
    pool.join(DEADLINE)


def test_join_waits_for_callbacks_of_cancelled_tasks(pool: Pool, busy: Busy) -> None:
    """That holds for tasks that were cancelled, too."""
    inside, go = threading.Event(), threading.Event()

    def callback(_: Future[int]) -> None:
        inside.set()
        assert go.wait(DEADLINE)

    with busy(pool):
        task = pool.submit(tasks.double, 1)
        task.add_done_callback(callback)
        before = pool.unfinished
        cancel = in_background(task.cancel)
        try:
            assert inside.wait(DEADLINE)
            assert pool.unfinished == before
        finally:
            go.set()
        assert cancel.result()
        assert pool.unfinished == before - 1


# --------------------------------------------------------- a task as a bare future


def test_a_task_can_be_made_bare(pool: Pool) -> None:
    """type(task)() is a pending future that any code may settle by Future's own calls."""
    kind: type[Task[int]] = type(pool.submit(tasks.double, 1))
    bare = kind()
    assert not bare.done()
    assert bare.set_running_or_notify_cancel()
    assert bare.running()
    seen: list[Future[int]] = []
    bare.add_done_callback(seen.append)
    bare.set_result(5)
    assert bare.result(0) == 5
    assert seen == [bare]
    with pytest.raises(InvalidStateError):
        bare.set_result(6)
    with pytest.raises(InvalidStateError):
        bare.set_exception(ValueError())


def test_a_bare_task_can_be_cancelled(pool: Pool) -> None:
    """Cancelling comes before the start, and is told to who would start it."""
    kind: type[Task[int]] = type(pool.submit(tasks.double, 1))
    bare = kind()
    assert bare.cancel()
    assert not bare.set_running_or_notify_cancel()
    with pytest.raises(CancelledError):
        bare.result(0)
    started = kind()
    assert started.set_running_or_notify_cancel()
    assert not started.cancel()
    with pytest.raises(RuntimeError):
        started.set_running_or_notify_cancel()


def test_a_bare_task_keeps_an_error(pool: Pool) -> None:
    """set_exception is as good as a task that raised."""
    kind: type[Task[int]] = type(pool.submit(tasks.double, 1))
    bare = kind()
    bare.set_exception(LookupError("nothing"))
    with pytest.raises(LookupError, match="nothing"):
        bare.result(0)
