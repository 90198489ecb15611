"""group(): a block that ends when all its tasks are done, and tells all that failed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE, Gate, in_background
from workpool import GroupClosed, Pool, Task, Unsupported, WorkerLost


def test_after_the_block_all_its_tasks_are_done(pool: Pool) -> None:
    """A block submits tasks and is left when they have their results."""
    with pool.group() as group:
        submitted = [group.submit(tasks.double, n) for n in range(20)]
    assert [task.result(0) for task in submitted] == [2 * n for n in range(20)]


@pytest.mark.needs("concurrent")
def test_the_block_waits_for_what_runs(pool: Pool, gate: Gate) -> None:
    """As long as a task runs, the block is not left."""

    def block() -> None:
        with pool.group() as group:
            group.submit(tasks.hold, gate.path, 1)

    left = in_background(block)
    gate.arrival()
    assert not left.ended
    gate.open()
    left.result()


def test_an_empty_block_is_left_at_once(pool: Pool) -> None:
    """A group without tasks is no special case."""
    with pool.group() as group:
        pass
    assert repr(group) == f"<Group of {pool.name}: ended, 0 unfinished>"


def test_a_view_makes_groups_on_its_terms(pool: Pool) -> None:
    """options(...).group() submits on those terms."""
    with pool.options(retries=2, retry_on=LookupError, name="again").group() as group:
        task = group.submit(tasks.fail_until, 3)
    assert (task.result(0), task.name) == (3, "again")


# ---------------------------------------------------------------------- a task fails


@pytest.mark.needs("concurrent")
def test_the_first_failure_cancels_what_is_queued(make_pool: MakePool, gate: Gate) -> None:
    """What waits when a task fails never runs, and the failure is told."""
    pool = make_pool(1)
    waiting: list[Task[int]] = []
    with Gate() as seen:
        with pytest.raises(ExceptionGroup) as told, pool.group() as group:
            group.submit(tasks.hold_or_fail, gate.path, ValueError("first"))
            gate.arrival()
            waiting += [group.submit(tasks.report, seen.path, n) for n in range(5)]
            gate.open()
        assert seen.waiting() == []
    assert all(task.cancelled() for task in waiting)
    assert [repr(error) for error in told.value.exceptions] == ["ValueError('first')"]
    assert told.value.message == f"1 of 6 tasks failed in a group of {pool.name}"


@pytest.mark.needs("concurrent")
def test_the_first_failure_asks_what_runs_to_end(pool: Pool, make_gate: Callable[[], Gate]) -> None:
    """A task that runs when another one fails sees current().cancelled."""
    one, other = make_gate(), make_gate()
    running: list[Task[bool]] = []
    with pytest.raises(ExceptionGroup), pool.group() as group:
        running.append(group.submit(tasks.cancelled_within, DEADLINE, one.path))
        one.arrival()
        one.open()
        group.submit(tasks.hold_or_fail, other.path, ValueError())
        other.arrival()
        other.open()
    assert running[0].result(0) is True


@pytest.mark.needs("concurrent")
def test_all_failures_are_told(pool: Pool, gate: Gate) -> None:
    """Tasks that fail because of nothing but themselves are all in the ExceptionGroup."""
    with pytest.raises(ExceptionGroup) as told, pool.group() as group:
        group.submit(tasks.hold_or_fail, gate.path, ValueError("a"))
        group.submit(tasks.hold_or_fail, gate.path, LookupError("b"))
        gate.arrivals(2)
        gate.open()
    assert {type(error) for error in told.value.exceptions} == {ValueError, LookupError}


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), tasks.OwnBase("odd")])
def test_what_is_no_exception_is_told_too(pool: Pool, error: BaseException) -> None:
    """A task that raises SystemExit or the like makes it a BaseExceptionGroup, and nothing else ends."""
    with pytest.raises(BaseExceptionGroup) as told, pool.group() as group:
        group.submit(tasks.fail, error)
    assert [type(each) for each in told.value.exceptions] == [type(error)]
    assert not isinstance(told.value, ExceptionGroup)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


def test_after_a_failure_the_group_takes_no_more(pool: Pool) -> None:
    """A block that goes on submitting is refused, and that is not told beside the failure."""
    with pytest.raises(ExceptionGroup) as told, pool.group() as group:
        told_to_the_group = threading.Event()
        failed = group.submit(tasks.fail, ValueError("only"))
        failed.add_done_callback(lambda _: told_to_the_group.set())
        assert told_to_the_group.wait(DEADLINE)
        assert group.cancelled
        group.submit(tasks.double, 1)
    assert [repr(error) for error in told.value.exceptions] == ["ValueError('only')"]


def test_a_task_that_was_cancelled_by_itself_is_no_failure(pool: Pool, busy: Busy) -> None:
    """cancel() of one task leaves the others alone."""
    with busy(pool) as held:
        with_one_cancelled: list[Any] = []

        def block() -> None:
            with pool.group() as group:
                one, other = group.submit(tasks.double, 1), group.submit(tasks.double, 2)
                with_one_cancelled.extend([one.cancel(), other])
                held.open()

        in_background(block).result()
    cancelled, other = with_one_cancelled
    assert cancelled
    assert other.result(0) == 4


@pytest.mark.needs("ends_tasks")
def test_a_lost_worker_is_a_failure(pool: Pool) -> None:
    """A worker that dies in a task of the group is told like any error."""
    with pytest.raises(ExceptionGroup) as told, pool.group() as group:
        group.submit(tasks.die)
    assert told.value.subgroup(WorkerLost) is not None


# --------------------------------------------------------------------- the block fails


@pytest.mark.needs("concurrent")
def test_an_error_in_the_block_cancels_the_rest(make_pool: MakePool, gate: Gate) -> None:
    """What the block raises is told together with what its tasks raise."""
    pool = make_pool(1)
    waiting: list[Task[int]] = []
    submitted = threading.Event()

    def block() -> None:
        with pool.group() as group:
            group.submit(tasks.hold_or_fail, gate.path, LookupError("task"))
            gate.arrival()
            waiting.append(group.submit(tasks.double, 1))
            submitted.set()
            raise ValueError("block")

    left = in_background(block)
    assert submitted.wait(DEADLINE)
    with pytest.raises(CancelledError):
        waiting[0].result(DEADLINE)
    assert not left.ended
    gate.open()
    with pytest.raises(ExceptionGroup) as told:
        left.result()
    assert [str(error) for error in told.value.exceptions] == ["block", "task"]
    assert told.value.message == f"the block and 1 of 2 tasks failed in a group of {pool.name}"


@pytest.mark.needs("own_threads")
def test_ctrl_c_in_the_block_does_not_wait(pool: Pool, gate: Gate) -> None:
    """KeyboardInterrupt comes out at once and as it is, though a task runs that nobody can end."""

    def block() -> None:
        with pool.group() as group:
            group.submit(tasks.hold, gate.path, 1)
            gate.arrival()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_background(block).result()


@pytest.mark.needs("ends_tasks")
def test_ctrl_c_in_the_block_ends_what_runs(pool: Pool, gate: Gate) -> None:
    """Where a task can be ended, KeyboardInterrupt in the block ends it."""
    running: list[Task[int]] = []
    with pytest.raises(KeyboardInterrupt), pool.group() as group:
        running.append(group.submit(tasks.hold, gate.path, 1))
        gate.arrival()
        raise KeyboardInterrupt
    with pytest.raises(CancelledError):
        running[0].result(DEADLINE)


@pytest.mark.needs("concurrent")
def test_ctrl_c_while_the_block_waits(
    pool: Pool, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KeyboardInterrupt in the wait comes out at once too, and cancels what has not started."""
    waiting: list[Task[int]] = []

    def strike(task: Task[Any], timeout: float | None) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), pool.group() as group:
        for n in range(2):
            group.submit(tasks.hold, gate.path, n)
        gate.arrivals(2)
        waiting.append(group.submit(tasks.double, 1))
        monkeypatch.setattr(Task, "_wait", strike)
    assert waiting[0].cancelled()
    with pytest.raises(GroupClosed, match="has ended"):
        group.submit(tasks.double, 1)


def test_system_exit_in_the_block_comes_out_as_it_is(pool: Pool) -> None:
    """SystemExit is not wrapped; what failed beside it is its context."""
    with pytest.raises(SystemExit) as left, pool.group() as group:
        group.submit(tasks.fail, ValueError("task")).exception(DEADLINE)
        raise SystemExit(3)
    assert left.value.code == 3
    assert isinstance(left.value.__context__, ExceptionGroup)


# ------------------------------------------------------------------------ the ends


def test_a_group_takes_tasks_in_its_block_only(pool: Pool) -> None:
    """Before the block and after it, submit is refused; and there is no second block."""
    group = pool.group()
    with pytest.raises(GroupClosed, match="inside its block"):
        group.submit(tasks.double, 1)
    with group:
        pass
    with pytest.raises(GroupClosed, match="has ended"):
        group.submit(tasks.double, 1)
    with pytest.raises(RuntimeError, match="one block"), group:
        pass


@pytest.mark.needs("concurrent")
def test_cancel_ends_the_block_without_an_error(make_pool: MakePool, gate: Gate) -> None:
    """Once the block has what it wants, it cancels the rest."""
    pool = make_pool(1)
    with pool.group() as group:
        first = group.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        rest = [group.submit(tasks.double, n) for n in range(5)]
        group.cancel()
        gate.open()
        group.submit(tasks.double, 1)  # refused, and that ends the block
    assert first.result(0) == 1
    assert all(task.cancelled() for task in rest)


@pytest.mark.needs("ends_tasks")
def test_kill_after_ends_what_runs_on(pool: Pool, gate: Gate) -> None:
    """With kill_after, a task that does not end by itself is ended, and the block with it."""
    endless: list[Task[int]] = []
    with pytest.raises(ExceptionGroup) as told, pool.group(kill_after=0.0) as group:
        endless.append(group.submit(tasks.hold, gate.path, 1))
        gate.arrival()
        group.submit(tasks.fail, ValueError("first"))
    assert endless[0].cancelled()
    assert len(told.value.exceptions) == 1
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


@pytest.mark.lacks("ends_tasks")
def test_kill_after_is_refused_where_nothing_is_ended(pool: Pool, kind: Kind) -> None:
    """A backend that cannot end a task says so at the call, and names one that can."""
    with pytest.raises(Unsupported, match='backend="process"'):
        pool.group(kill_after=1.0)
    with pytest.raises(ValueError, match="kill_after must be 0 seconds or more"):
        pool.group(kill_after=-1.0)


# --------------------------------------------------------------------- groups in groups


@pytest.mark.lacks("pickles")
def test_tasks_submit_to_their_own_group(make_pool: MakePool) -> None:
    """What tasks submit to their group is done when the block is left, with one worker too."""
    pool = make_pool(1)
    count = pool.counter()
    with pool.group() as group:
        group.submit(tasks.grow, group, count, 3)
    assert count.value == 15


def test_groups_nest(pool: Pool) -> None:
    """An inner group's failure is an error of the outer block."""
    with pytest.raises(ExceptionGroup) as told, pool.group() as outer:
        outer.submit(tasks.double, 1)
        with pool.group() as inner:
            inner.submit(tasks.fail, ValueError("deep"))
    (nested,) = told.value.exceptions
    assert type(nested) is ExceptionGroup
    assert told.value.subgroup(ValueError) is not None


@pytest.mark.lacks("pickles")
def test_a_task_has_a_group_of_its_own_pool(make_pool: MakePool) -> None:
    """A task may open a group and wait for it, with one worker."""
    pool = make_pool(1)
    with pool.group() as outer:
        task = outer.submit(tasks.sum_in_group, pool, 10)
    assert task.result(0) == 90


@pytest.mark.needs("own_threads")
def test_a_group_is_cancelled_with_the_task_that_it_is_part_of(
    make_pool: MakePool, gate: Gate
) -> None:
    """When a group fails, so end the groups that its tasks have opened."""
    pool = make_pool(1)  # whose worker runs the inner tasks itself
    opened: list[Task[None]] = []
    queued: list[Task[int]] = []
    submitted = threading.Event()
    with Gate() as seen:
        with pytest.raises(ExceptionGroup) as told, pool.group() as outer:
            opened.append(
                outer.submit(tasks.group_of_many, pool, gate.path, seen.path, queued, submitted)
            )
            gate.arrival()  # of the inner group's first task; the outer task waits for it
            assert submitted.wait(DEADLINE)
            outer.cancel()
            for each in queued:
                assert each.cancelled()
            gate.open()
            raise ValueError("outer")
        assert seen.waiting() == []
    assert [str(error) for error in told.value.exceptions] == ["outer"]
    assert isinstance(opened[0].exception(0), CancelledError)


@pytest.mark.needs("own_threads")
def test_a_task_that_is_cancelled_takes_its_group_along(make_pool: MakePool, gate: Gate) -> None:
    """To cancel a running task is to cancel the group that it waits for."""
    pool = make_pool(1)  # whose worker runs the inner tasks itself
    queued: list[Task[int]] = []
    submitted = threading.Event()
    task = pool.submit(tasks.group_of_many, pool, gate.path, gate.path, queued, submitted)
    gate.arrival()
    assert submitted.wait(DEADLINE)
    assert not task.cancel()
    gate.open()
    assert isinstance(task.exception(DEADLINE), CancelledError)
    assert all(each.cancelled() for each in queued)
