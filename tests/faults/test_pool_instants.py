"""A worker process is killed at each instant that is not the call's own: nobody is charged for what had not begun."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import MakePool
from tests.support import tasks
from tests.support.fatal import (
    die_at_line,
    die_if,
    exit_later,
    hold_first,
    noted_bytes,
    noted_size,
    started,
    unarm,
)
from tests.support.gates import DEADLINE, Gate
from tests.support.lives import handle_of, life_of
from tests.support.queues import until
from workpool import Pool, Task, WorkerLost
from workpool.ipc.frames import FrameReader

pytestmark = pytest.mark.heavy

LARGE = 200_000_000  # bytes

# How somebody else ends a worker: by signals, which strike a process that is stopped when it goes on.
DEADLY = [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT]
by_signal = pytest.mark.parametrize("deadly", DEADLY, ids=lambda each: each.name)


class Snare:
    """Stands in for a worker's reader in the parent: ends the worker at the first byte, or at one in the middle."""

    def __init__(self, reader: FrameReader, end: Callable[[], object], after: int) -> None:
        self._reader = reader
        self._end: Callable[[], object] | None = end
        self._left = after

    def read_once(self) -> bool:
        if self._left <= 0 and self._end is not None:
            self._end()
            self._end = None
        before = self._reader._have
        there = self._reader.read_once()
        self._left -= self._reader._have - before
        return there

    def next_frame(self) -> Any:
        return self._reader.next_frame()


def frozen(pool: Pool) -> int:
    """Have the pool's only worker ready and stopped by the kernel: it takes in nothing."""
    pid = int(pool.submit(os.getpid).result(DEADLINE))
    os.kill(pid, signal.SIGSTOP)
    return pid


def strike(pid: int, deadly: signal.Signals) -> None:
    """Send a deadly signal to a process, also where it is stopped."""
    os.kill(pid, deadly)
    if deadly is not signal.SIGKILL:  # which does not wait for that
        os.kill(pid, signal.SIGCONT)


def killed_before_receiving(pool: Pool, starts: Path, size: int, deadly: signal.Signals) -> None:
    pid = frozen(pool)
    task = pool.submit(noted_size, str(starts), bytes(size))
    until(lambda: pool.unfinished == 1 and not life_of(pool)._turn.locked())
    strike(pid, deadly)
    assert task.result(DEADLINE) == size
    assert task.attempts == 1
    assert started(starts) == {"size": 1}
    assert pool.stats().lost == 1


# Not by those for which a handler writes the stack first: in one thread, while another may begin the call.
@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGTERM], ids=lambda one: one.name)
@pytest.mark.parametrize("size", [10, LARGE], ids=["small", "large"])
def test_killed_before_it_has_received_the_call(
    pool: Pool, tmp_path: Path, size: int, deadly: signal.Signals
) -> None:
    """Idle, with a call in its pipe or a large argument in shared memory: the task runs elsewhere, once."""
    killed_before_receiving(pool, tmp_path / "starts", size, deadly)


@by_signal
@pytest.mark.usefixtures("pipes_only")
def test_killed_with_half_an_argument_in_its_pipe(
    make_pool: MakePool, tmp_path: Path, deadly: signal.Signals
) -> None:
    """The same where a large argument is still on its way."""
    killed_before_receiving(make_pool(1), tmp_path / "starts", LARGE, deadly)


def test_killed_with_a_chunk_that_it_has_not_received(pool: Pool, tmp_path: Path) -> None:
    """No item of a chunk is charged that had not begun."""
    starts = tmp_path / "starts"
    pid = frozen(pool)
    results = pool.map(partial(die_if, str(starts), -1, "SIGKILL"), range(20), chunksize=20)
    os.kill(pid, signal.SIGKILL)
    assert list(results) == [2 * n for n in range(20)]
    assert started(starts) == {str(n): 1 for n in range(20)}


@by_signal
@pytest.mark.usefixtures("pipes_only")
@pytest.mark.parametrize(
    ("size", "after"),
    [(1, 0), (LARGE, 0), (LARGE, LARGE // 2)],
    ids=["one byte", "begin", "middle"],
)
def test_killed_while_it_sends_its_result(
    make_pool: MakePool, tmp_path: Path, size: int, after: int, deadly: signal.Signals
) -> None:
    """A result is taken whole or the task is charged, and it does not run twice; the pool goes on."""
    pool, starts = make_pool(1), tmp_path / "starts"
    pool.submit(tasks.double, 1).result(DEADLINE)
    pid = handle_of(pool).pid
    ended_while_it_sends(pool, starts, size, after, partial(strike, pid, deadly), -deadly)


@pytest.mark.usefixtures("pipes_only")
@pytest.mark.parametrize(
    ("size", "after"), [(1, 0), (LARGE, LARGE // 2)], ids=["one byte", "middle"]
)
def test_exits_while_it_sends_its_result(
    make_pool: MakePool, gate: Gate, tmp_path: Path, size: int, after: int
) -> None:
    """The same for os._exit by a thread that an earlier task has left in the worker."""
    pool, starts = make_pool(1), tmp_path / "starts"
    pool.submit(exit_later, gate.path).result(DEADLINE)
    gate.arrival()
    pid = handle_of(pool).pid

    def let_it_exit() -> None:
        gate.open()
        until(lambda: _is_gone(pid))  # else all of it may be here before

    ended_while_it_sends(pool, starts, size, after, let_it_exit, 7)


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def ended_while_it_sends(
    pool: Pool, starts: Path, size: int, after: int, end: Callable[[], object], exitcode: int
) -> None:
    handle = handle_of(pool)
    snare: Any = Snare(handle.reader, end, after)
    handle.reader = snare
    task = pool.submit(noted_bytes, str(starts), size)
    error = task.exception(DEADLINE)
    if error is None:
        assert len(task.result()) == size  # it was in the pipe already
    else:
        assert isinstance(error, WorkerLost)
        assert (error.exitcode, error.task) == (exitcode, "noted_bytes")
    assert (error is None) == (size == 1)
    assert started(starts) == {"bytes": 1}
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


@by_signal
def test_killed_while_idle(make_pool: MakePool, deadly: signal.Signals) -> None:
    """Nothing fails: neither what ended before, nor what is submitted right after."""
    pool = make_pool(2)
    done = [pool.submit(tasks.double, n) for n in range(20)]
    pool.join(DEADLINE)
    for _ in range(5):
        for index in list(pool._scheduler.workers):
            life = life_of(pool, index)
            until(lambda life=life: life._serving)  # type: ignore[misc]  # bound at once
            os.kill(handle_of(pool, index).pid, deadly)
        assert [task.result(DEADLINE) for task in [pool.submit(tasks.double, 3)] * 2] == [6, 6]
    assert [task.result(0) for task in done] == [2 * n for n in range(20)]
    assert pool.stats().failed == 0


def test_exits_while_idle(pool: Pool, gate: Gate) -> None:
    """The same for os._exit by a thread that a task has left in its worker."""
    first = pool.submit(exit_later, gate.path)
    assert first.result(DEADLINE) is None
    gate.arrival()
    pid = handle_of(pool).pid
    pool.join(DEADLINE)
    gate.open()
    until(lambda: pool.stats().lost == 1 and life_of(pool)._serving)
    assert handle_of(pool).pid != pid
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
    assert pool.stats().failed == 0


# ------------------------------------------------------------------------ at every line


def fatal_at(pool: Pool, number: int, work: Callable[[], list[Any]]) -> tuple[bool, list[Any]]:
    """Have the worker killed so many lines after now, with this work to do; tell whether it was, and what came out."""
    before = pool.stats().lost
    arming = pool.submit(die_at_line, number)
    outcomes = work()
    outcomes.append(arming.exception(DEADLINE))
    last = pool.submit(unarm).exception(DEADLINE)
    outcomes.append(last)
    return pool.stats().lost > before, outcomes


def all_lines(pool: Pool, step: int, work: Callable[[int], list[Any]]) -> int:
    """Kill at one line in so many until the work is done before it comes to it."""
    number = 0
    while True:
        killed, outcomes = fatal_at(pool, number, partial(work, number))
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert all(isinstance(error, WorkerLost) for error in errors)
        assert len(errors) <= 1, f"{len(errors)} calls were charged for a death at line {number}"
        if not killed:
            return number
        number += step


STEPS = [
    pytest.param(37, id="some"),
    pytest.param(1, id="all", marks=[pytest.mark.stress, pytest.mark.timeout(900)]),
]


@pytest.mark.parametrize("step", STEPS)
def test_tasks_when_killed_at_any_line(pool: Pool, tmp_path: Path, step: int) -> None:
    """At most one task is charged; what had begun is not begun again, all else runs once."""

    def work(number: int) -> list[Any]:
        starts = tmp_path / f"{number}"
        batch: list[Task[int]] = [
            pool.submit(die_if, str(starts), -1, "SIGKILL", n) for n in range(4)
        ]
        errors = [task.exception(DEADLINE) for task in batch]
        counts = started(starts)
        for n, (task, error) in enumerate(zip(batch, errors, strict=True)):
            if error is None:
                assert (task.result(), counts[str(n)]) == (2 * n, 1)
            else:
                assert counts[str(n)] <= 1
        return errors

    assert all_lines(pool, step, work) > 200


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("tiny", [False, True], ids=["one by one", "in slices"])
def test_items_when_killed_at_any_line(pool: Pool, tmp_path: Path, step: int, tiny: bool) -> None:
    """The same for the items of a chunk, also where many tiny ones run in one go."""

    def work(number: int) -> list[Any]:
        starts = tmp_path / f"{number}"
        fn = tasks.double if tiny else partial(die_if, str(starts), -1, "SIGKILL")
        count = 200 if tiny else 4
        results = list(pool.map(fn, range(count), chunksize=count, return_exceptions=True))
        counts = started(starts)
        for n, outcome in enumerate(results):
            if not isinstance(outcome, BaseException):
                assert outcome == 2 * n
                assert tiny or counts[str(n)] == 1
            else:
                assert counts[str(n)] <= 1
        return results

    if tiny:
        assert list(pool.map(tasks.double, range(100), chunksize=100)) == list(range(0, 200, 2))
    assert all_lines(pool, step, work) > 200


def test_killed_by_hand_between_receiving_and_running(
    pool: Pool, gate: Gate, tmp_path: Path
) -> None:
    """What waits behind a call in a worker that is stopped and killed there runs elsewhere, once."""
    starts = tmp_path / "starts"
    fn = partial(hold_first, gate.path, str(starts))
    results = pool.map(fn, range(5), chunksize=5, return_exceptions=True)
    pid = int(gate.arrival())  # the first runs, the others are received
    os.kill(pid, signal.SIGKILL)
    outcomes = list(results)
    assert isinstance(outcomes[0], WorkerLost)
    assert outcomes[1:] == [1, 2, 3, 4]
    assert started(starts) == {str(n): 1 for n in range(5)}
