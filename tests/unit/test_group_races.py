"""Races at the end of a group's block, made to happen each time."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.lying import LyingLock
from tests.support.queues import until
from workpool import Group, GroupClosed, Pool, Task


def group_with_stops(pool: Pool) -> tuple[Group, LyingLock]:
    """Make a group whose lock has stops."""
    group: Any = pool.group()
    lock: Any = LyingLock()
    group._lock = lock
    group._changed = threading.Condition(lock)
    return group, lock


def test_a_failure_between_the_end_of_the_block_and_the_wait() -> None:
    """A task that has failed and not yet said so to its group is told of all the same."""
    with Gate() as gate, Pool(1, name="racer") as pool:
        group, lock = group_with_stops(pool)
        with lock.stop("before acquire", "racer") as stop:  # the worker, about to tell the failure

            def block() -> None:
                with group:
                    group.submit(tasks.hold_or_fail, gate.path, ValueError("seen"))
                    gate.open()
                    stop.arrival()

            with pytest.raises(ExceptionGroup) as told:
                in_background(block).result()
        assert [str(error) for error in told.value.exceptions] == ["seen"]


def test_a_submit_on_its_way_holds_the_block_open() -> None:
    """A task that another thread has handed to the pool, and not yet registered, is waited for."""
    with Gate() as gate, Pool(1) as pool:
        group, lock = group_with_stops(pool)
        entered, leave = threading.Event(), threading.Event()

        def block() -> None:
            with group:
                entered.set()
                assert leave.wait(DEADLINE)

        left = in_background(block)
        assert entered.wait(DEADLINE)
        with lock.stop("before acquire", "late", skip=1) as stop:
            late: list[Task[int]] = []

            def submit() -> None:
                late.append(group.submit(tasks.hold, gate.path, 5))

            thread = threading.Thread(target=submit, name="late", daemon=True)
            thread.start()
            stop.arrival()  # with the pool, and not registered
            gate.arrival()
            leave.set()
            left.thread.join(0.05)
            assert not left.ended
        thread.join(DEADLINE)
        assert not left.ended
        gate.open()
        left.result()
        assert late[0].result(0) == 5


def test_a_submit_on_its_way_is_cancelled_with_the_group() -> None:
    """A task that is registered after the group was cancelled is cancelled too."""
    with Gate() as gate, Pool(1) as pool:
        blocker = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        group, lock = group_with_stops(pool)
        late: list[Task[int]] = []
        with group:
            with lock.stop("before acquire", "late", skip=1) as stop:
                thread = threading.Thread(
                    target=lambda: late.append(group.submit(tasks.double, 5)),
                    name="late",
                    daemon=True,
                )
                thread.start()
                stop.arrival()
                group.cancel()
            thread.join(DEADLINE)
            assert late[0].cancelled()
            gate.open()
        assert blocker.result(DEADLINE) == 1


def test_a_submit_that_is_refused_by_the_pool_lets_the_block_end() -> None:
    """A submit that fails is not waited for."""
    pool = Pool(1)
    with pytest.raises(ExceptionGroup) as told, pool.group() as group:
        pool.shutdown()
        group.submit(tasks.double, 1)
    assert told.value.subgroup(RuntimeError) is not None


def test_many_threads_submit_while_the_block_ends() -> None:
    """Each submit is refused, or its task is done when the block has been left."""
    with Pool(2) as pool:
        for _ in range(30):
            accepted: list[Task[int]] = []
            begin = threading.Barrier(5)
            ended = threading.Event()

            def submit(group: Group, begin: Any = begin, accepted: Any = accepted) -> None:
                begin.wait(DEADLINE)
                try:
                    while True:
                        accepted.append(group.submit(tasks.double, 1))
                except GroupClosed:
                    pass

            with pool.group() as group:
                threads = [in_background(submit, group) for _ in range(4)]
                begin.wait(DEADLINE)
                in_background(group.cancel).result()
            ended.set()
            for thread in threads:
                thread.result()
            assert all(task.done() for task in accepted)


def test_an_exception_in_the_wait_cancels_the_rest_and_goes_on_waiting() -> None:
    """What is sent into the waiting thread comes out when the tasks are done."""
    with Gate() as gate, Pool(1) as pool:
        waited: list[Task[Any]] = []

        def strike(task: Task[Any], timeout: float | None) -> None:
            patch.undo()
            gate.open()
            raise TimeoutError("sent into it")

        with (
            pytest.MonkeyPatch.context() as patch,
            pytest.raises(TimeoutError, match="sent into it"),
            pool.group() as group,
        ):
            waited.append(group.submit(tasks.cancelled_within, DEADLINE, gate.path))
            gate.arrival()
            waited.append(group.submit(tasks.double, 1))
            patch.setattr(Task, "_wait", strike)
        assert waited[0].result(0) is True
        assert waited[1].cancelled()


def test_without_a_thread_that_would_end_it_what_runs_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said that tasks run on, and the block raises what it had to raise."""

    def no_more_threads(*_: object) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    with Gate() as gate, Pool(1, backend="process") as pool:
        monkeypatch.setattr(pool._scheduler.timers, "after", no_more_threads)
        running: list[Task[int]] = []

        def block() -> None:
            with pool.group(kill_after=0.0) as group:
                running.append(group.submit(tasks.hold, gate.path, 1))
                gate.arrival()
                raise LookupError

        left = in_background(block)
        until(lambda: "run on" in caplog.text or left.ended)
        gate.open()
        with pytest.raises(ExceptionGroup) as told:
            left.result()
        assert [type(error) for error in told.value.exceptions] == [LookupError]
        assert running[0].result(0) == 1
