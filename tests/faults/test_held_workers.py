"""A worker that C code holds, or that the system has stopped: its neighbours run elsewhere, and nobody waits for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import MakePool
from tests.support import tasks
from tests.support.fatal import hold_first, started
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.gripping import (
    grip_and_name,
    grip_at,
    noted_grip,
    pause_and_name,
    pause_at,
    pause_then_grip,
)
from tests.support.lives import both_work, handle_of, life_of
from tests.support.queues import until
from workpool import Pool, Task, WorkerLost
from workpool.backends.process import feeding
from workpool.ipc import serving

pytestmark = pytest.mark.heavy

MANY = 200
QUICK = 0.0005  # seconds: a call that has proved shorter is soon missed


def known_as_quick(pool: Pool, fn: Callable[[Any], object], item: object) -> None:
    """Have the pool know that a function is quick; its first calls took long, for they imported it."""
    pace = pool._scheduler.pace
    while (seconds := pace.of(fn)) is None or seconds > QUICK:
        list(pool.map(fn, [item] * 100, chunksize=100))


def batch(pool: Pool, starts: Path, gate: Gate, held: int) -> list[Task[int]]:
    """Have a worker held by one task, with others behind it; gives them all, by number."""
    fn = partial(noted_grip, str(starts), gate.path, held)
    known_as_quick(pool, fn, -1)
    with Gate() as before:
        first = [pool.submit(tasks.hold, before.path, 0) for _ in range(pool._max_workers)]
        before.arrivals(len(first))
        batched = [pool.submit(fn, n) for n in range(MANY)]
    gate.arrival()
    return batched


def test_tasks_behind_one_that_holds_the_gil_run_elsewhere(
    make_pool: MakePool, gate: Gate, tmp_path: Path
) -> None:
    """They do not wait for it, those before it are told at once, and each runs once."""
    pool, starts = make_pool(2), tmp_path / "starts"
    batched = batch(pool, starts, gate, 20)
    others = [task for n, task in enumerate(batched) if n != 20]
    assert [task.result(DEADLINE) for task in others] == [2 * n for n in range(MANY) if n != 20]
    assert not batched[20].done()
    gate.open()
    assert batched[20].result(DEADLINE) == 40
    assert [pool.submit(tasks.double, n).result(DEADLINE) for n in range(20)] == [
        2 * n for n in range(20)
    ]
    counts = started(starts)
    del counts["-1"]
    assert counts == {str(n): 1 for n in range(MANY)}
    assert pool.stats().lost == 0


@pytest.mark.parametrize("fn", [grip_at, grip_and_name, pause_at, pause_and_name])
def test_items_of_a_slice_do_not_wait_either(
    make_pool: MakePool, gate: Gate, fn: Callable[[str], Any]
) -> None:
    """Also where they run in one loop in C: those behind the slow item run elsewhere, those before it are told."""
    pool = make_pool(2)
    nothing = fn("")
    known_as_quick(pool, fn, "")
    items = [""] * 50 + [gate.path] + [""] * 149
    results = pool.map(fn, items, chunksize=200, ordered=False)
    first = in_background(lambda: [next(results) for _ in range(199)])
    gate.arrival()
    assert first.result() == [nothing] * 199
    gate.open()
    assert list(results) == [type(nothing)(len(gate.path))]
    assert list(pool.map(fn, [""] * 400, chunksize=100)) == [nothing] * 400
    assert pool.stats().lost == 0


class PausesOnArrival:
    """A function of which one copy stops at a gate while it is unpickled; the others do not."""

    def __init__(self, gate: str, armed: str) -> None:
        self.gate, self.armed = gate, armed

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)
        with suppress(FileNotFoundError):
            os.unlink(self.armed)
            pause_at(self.gate)

    def __call__(self, n: int) -> int:
        return n


def test_items_of_a_function_that_takes_long_to_arrive_do_not_wait(
    make_pool: MakePool, gate: Gate, tmp_path: Path
) -> None:
    """Also where it has proved tiny: its first item has begun, and the others run elsewhere."""
    pool, armed = make_pool(2), tmp_path / "armed"
    fn = PausesOnArrival(gate.path, str(armed))
    known_as_quick(pool, fn, 0)
    armed.touch()
    results = pool.map(fn, range(20), chunksize=20, ordered=False)
    gate.arrival()
    assert in_background(lambda: [next(results) for _ in range(19)]).result() == list(range(1, 20))
    gate.open()
    assert list(results) == [0]


def known_as_slow(pool: Pool, fn: Callable[[Any], object]) -> None:
    """Have the pool expect hours of each call, as after one that has taken days."""
    with pool._scheduler.lock:
        pool._scheduler.pace.measured(fn, 1e5, 1)


def test_nothing_waits_behind_a_slow_item_for_as_long_as_was_expected(
    make_pool: MakePool, gate: Gate
) -> None:
    """One call that took long says nothing of the next chunk: whoever is free takes over what has not begun."""
    pool = make_pool(2)
    known_as_quick(pool, pause_at, "")
    known_as_slow(pool, pause_at)
    results = pool.map(pause_at, [""] * 50 + [gate.path] + [""] * 149, chunksize=200, ordered=False)
    first = in_background(lambda: [next(results) for _ in range(199)])
    gate.arrival()
    assert first.result() == [0] * 199
    gate.open()
    assert list(results) == [len(gate.path)]


@pytest.mark.parametrize("fn", [pause_at, grip_at, grip_and_name])
def test_finished_values_do_not_wait_for_as_long_as_was_expected(
    make_pool: MakePool, gate: Gate, fn: Callable[[str], Any]
) -> None:
    """Not where nobody is free, either: they are told while the slow item runs."""
    pool = make_pool(1)
    known_as_quick(pool, fn, "")
    known_as_slow(pool, fn)
    results = pool.map(fn, [""] * 50 + [gate.path] + [""] * 149, chunksize=200)
    first = in_background(lambda: [next(results) for _ in range(50)])
    gate.arrival()
    assert first.result() == [fn("")] * 50
    gate.open()
    assert len(list(results)) == 150


def test_what_is_not_overdue_stays_where_it_is_while_nobody_is_free(
    make_pool: MakePool, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk of slow items is looked at now and then, and not sent anew each time."""
    monkeypatch.setattr(feeding, "_LONGEST_PATIENCE", 0.001)
    pool = make_pool(1)
    fn = partial(tasks.hold, gate.path)
    known_as_slow(pool, fn)
    results = pool.map(fn, range(20), chunksize=20)
    gate.arrival()
    life = life_of(pool)
    looks, is_of_use = list[bool](), life._is_of_use

    def look(handle: Any) -> bool:
        looks.append(is_of_use(handle))
        return looks[-1]

    monkeypatch.setattr(life, "_is_of_use", look)
    until(lambda: len(looks) > 10)
    gate.open()
    assert list(results) == list(range(20))
    assert not any(looks)


def test_a_slice_of_which_the_first_values_are_here_is_not_taken_for_idle(
    make_pool: MakePool, gate: Gate
) -> None:
    """Its last call has begun, and may hold the worker from answering for as long as it likes."""
    with Gate() as pausing:
        pool = make_pool(2)
        known_as_quick(pool, pause_then_grip, "")
        items = [""] * 50 + [f"{pausing.path}:{gate.path}"] + [""] * 149
        results = pool.map(pause_then_grip, items, chunksize=200, ordered=False)
        first = in_background(lambda: [next(results) for _ in range(199)])
        pid = int(pausing.arrival())
        assert first.result() == [0] * 199
        pausing.open()
        assert int(gate.arrival()) == pid
        (life,) = (life for life in map(partial(life_of, pool), (0, 1)) if life._flights)
        with life._turn:
            handle = life._handle
            assert handle is not None
            assert handle.pid == pid
            life._recall(handle)
            assert life._answer_due(handle) is None
            assert life._hung_since is None
        gate.open()
    assert list(results) == [2 * len(gate.path)]
    assert pool.stats().lost == 0


def test_one_behind_it_is_ended_at_once(make_pool: MakePool, gate: Gate, tmp_path: Path) -> None:
    """cancel(kill=True) does not wait for the call in front, nor does that pay for it."""
    pool, starts = make_pool(1), tmp_path / "starts"
    batched = batch(pool, starts, gate, 20)
    assert in_background(batched[-1].cancel, kill=True).result()
    assert [task.result(DEADLINE) for task in batched[:20]] == [2 * n for n in range(20)]
    gate.open()
    assert [task.result(DEADLINE) for task in batched[:-1]] == [2 * n for n in range(MANY - 1)]
    assert started(starts)[str(MANY - 1)] == 0
    assert pool.stats().lost == 0


@pytest.mark.parametrize("how", ["one task", "each message"])
def test_a_held_worker_can_be_told_much_and_killed(
    make_pool: MakePool, gate: Gate, tmp_path: Path, how: str
) -> None:
    """It reads nothing of that. Who tells it does not wait for it, and so a kill still comes through."""
    pool = make_pool(1)
    batched = batch(pool, tmp_path / "starts", gate, 0)
    life, handle = life_of(pool), handle_of(pool)
    if how == "one task":
        for _ in range(4_000):
            batched[0].cancel()
    else:

        def tell() -> None:
            with life._turn:
                for n in range(4_000):
                    handle.control((serving.CANCEL, n << 32, n << 32))

        in_background(tell).result()
    until(lambda: not life._orders)
    assert in_background(batched[0].cancel, kill=True).result()
    in_background(pool.kill).result()


def test_a_held_worker_is_told_once(make_pool: MakePool, gate: Gate, tmp_path: Path) -> None:
    """That a task is not wanted any more it hears once, however often that is said."""
    pool = make_pool(1)
    batched = batch(pool, tmp_path / "starts", gate, 0)
    life, handle = life_of(pool), handle_of(pool)
    told: list[Any] = []
    control = handle.control

    def note(message: Any) -> None:
        told.append(message[0])
        control(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handle, "control", note)
        for _ in range(100):
            batched[0].cancel()
        until(lambda: not life._orders and not life._turn.locked())
    assert told.count(serving.CANCEL) == 1


def test_a_held_worker_that_is_killed_costs_one_task(
    make_pool: MakePool, gate: Gate, tmp_path: Path
) -> None:
    """What was taken back from it is not given back once more."""
    pool, starts = make_pool(2), tmp_path / "starts"
    fn = partial(noted_grip, str(starts), gate.path, 20)
    known_as_quick(pool, fn, -1)
    results = pool.map(fn, range(MANY), chunksize=MANY, return_exceptions=True)
    pid = int(gate.arrival())
    until(lambda: len(started(starts)) == MANY + 1)  # all others were begun elsewhere
    os.kill(pid, signal.SIGKILL)
    outcomes = list(results)
    lost = outcomes.pop(20)
    assert isinstance(lost, WorkerLost)
    assert lost.task == "item 20 of map(noted_grip)"
    assert outcomes == [2 * n for n in range(MANY) if n != 20]
    counts = started(starts)
    del counts["-1"]
    assert counts == {str(n): 1 for n in range(MANY)}


def test_a_worker_that_is_stopped_in_a_call_and_goes_on(
    make_pool: MakePool, gate: Gate, tmp_path: Path
) -> None:
    """Its neighbours run elsewhere; its own call ends as if nothing had been, and it is used again."""
    pool, starts = make_pool(2), tmp_path / "starts"
    fn = partial(hold_first, gate.path, str(starts))
    known_as_quick(pool, fn, -1)
    both_work(pool)
    results = pool.map(fn, range(50), chunksize=50, ordered=False)
    pid = int(gate.arrival())
    freeze(pid)
    try:
        others = in_background(lambda: [next(results) for _ in range(49)]).result()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert sorted(others) == list(range(1, 50))
    gate.open()
    assert list(results) == [0]
    lives = [life_of(pool, index) for index in (0, 1)]

    def seen() -> bool:
        both_work(pool)  # one task after the other could all go to the one that was never stopped
        return all(life._taken_upto < 0 and not life._seized for life in lives)

    until(seen)
    counts = started(starts)
    del counts["-1"]
    assert counts == {str(n): 1 for n in range(50)}
    assert pool.stats().lost == 0


def freeze(pid: int) -> None:
    """Have the system stop a process, and wait until all of it stands: a busy machine takes its time."""
    os.kill(pid, signal.SIGSTOP)
    stats = [each / "stat" for each in Path(f"/proc/{pid}/task").iterdir()]
    until(lambda: all(stat.read_text().rpartition(") ")[2][0] == "T" for stat in stats))


def frozen(pool: Pool) -> int:
    """Have the pool's only worker ready and stopped by the system: it takes in nothing."""
    pid = int(pool.submit(os.getpid).result(DEADLINE))
    freeze(pid)
    return pid


def test_a_limited_task_does_not_wait_for_a_stopped_worker(pool: Pool) -> None:
    """It has not begun, and so it has not failed: the worker is ended, and it runs in another."""
    pid = frozen(pool)
    task = pool.options(time_limit=0.5).submit(os.getpid)
    assert task.result(DEADLINE) != pid
    assert task.attempts == 1
    assert pool.stats().lost == 1


def test_tasks_behind_each_other_do_not_wait_for_a_stopped_worker(pool: Pool) -> None:
    """A batch of which nothing has begun is not left with it, though none has a limit."""
    known_as_quick(pool, tasks.double, 1)
    frozen(pool)
    assert list(pool.map(tasks.double, range(20), chunksize=20)) == list(range(0, 40, 2))
    assert pool.stats().lost == 1


def test_what_a_stopped_worker_was_sent_can_be_ended(pool: Pool) -> None:
    """cancel(kill=True) comes back, and the pool goes on with another worker."""
    pid = frozen(pool)
    task = pool.submit(os.getpid)
    until(lambda: task.worker is not None)  # it is sent, or just being sent
    assert in_background(task.cancel, kill=True).result()
    assert pool.submit(os.getpid).result(DEADLINE) != pid
    assert pool.stats().lost == 1


def test_one_that_is_slow_to_answer_loses_nothing(pool: Pool) -> None:
    """It was stopped for less time than it has: it runs what it was sent."""
    pid = frozen(pool)
    task = pool.options(time_limit=DEADLINE).submit(os.getpid)
    life, handle = life_of(pool), handle_of(pool)
    until(lambda: bool(life._flights) and not life._turn.locked())
    with life._turn:
        life._probe(handle, life._flights.current)  # type: ignore[arg-type]  # there is one
    os.kill(pid, signal.SIGCONT)
    assert task.result(DEADLINE) == pid
    until(lambda: not life._asks)
    assert pool.stats().lost == 0
