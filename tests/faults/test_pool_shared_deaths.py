"""A task is killed while it has, or changes, shared state of its pool: the next one finds it whole, and free.

One item of a chunk dies at a line of the library inside its call. It alone is charged;
what travelled with it runs elsewhere, once; and the state is as before or after its
change.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faults.conftest import MakePool
from tests.support import shared_calls
from tests.support.fatal import started
from tests.support.gates import DEADLINE, Gate
from tests.support.linewise import Lines, calls_and_dies
from workpool import Pool, Queue, WorkerLost

pytestmark = pytest.mark.heavy

METHODS = ["forkserver", "spawn", "fork"]
ITEMS = 5
FATAL = 2


class Use(NamedTuple):
    """A call of shared state: how that is made, what tasks do, and what holds after they did it so often."""

    make: Callable[[Pool], Any]
    call: Callable[[Any, int], object]
    # Given the thing, what came out of the others, and whether the one died.
    holds: Callable[[Any, list[Any], bool], object]
    most: int  # lines of the library in one call, roughly


def lock_holds(lock: Any, told: list[bool], died: bool) -> None:
    # The death is told at most once, and to nobody if it came before or after the block.
    assert sum(told) <= died
    assert lock.acquire(timeout=DEADLINE)
    lock.release()


def semaphore_holds(semaphore: Any, more: list[bool], _: bool) -> None:
    assert not any(more)
    assert [semaphore.acquire(timeout=DEADLINE) for _ in range(2)] == [True, True]
    assert not semaphore.acquire(blocking=False)
    semaphore.release(2)


def counter_holds(counter: Any, values: list[int], died: bool) -> None:
    assert len(set(values)) == len(values)
    assert counter.value in ({ITEMS - 1, ITEMS} if died else {ITEMS})
    assert counter.add() == max([*values, counter.value - 1]) + 1


def shared_holds(shared: Any, values: list[int], died: bool) -> None:
    assert len(set(values)) == len(values)
    number, text = shared.get()
    assert number in ({ITEMS - 1, ITEMS} if died else {ITEMS})
    assert text == b""  # the last item wrote none
    shared.set((7, shared_calls.LARGE))
    assert shared.get() == (7, shared_calls.LARGE)


def put_holds(queue: Any, _: list[None], died: bool) -> None:
    there = sorted(queue.get(timeout=DEADLINE) for _ in range(queue.qsize()))
    others = [n for n in range(ITEMS) if n != FATAL]
    assert there in ([others, list(range(ITEMS))] if died else [list(range(ITEMS))])
    for _ in there:
        queue.task_done()
    queue.join(timeout=DEADLINE)


def full_queue(pool: Pool) -> Queue[int]:
    queue: Queue[int] = pool.queue()
    for n in range(ITEMS):
        queue.put(n)
    return queue


def get_holds(queue: Any, items: list[int], died: bool) -> None:
    assert len(set(items)) == len(items)
    if died:  # what it had in hand can be told, and what it had not taken is still there
        left = list(queue.reclaim())
        left += [queue.get(timeout=DEADLINE) for _ in range(queue.qsize())]
        assert len(left) <= 1
        assert not set(left) & set(items)
        for _ in left:
            queue.task_done()
    queue.join(timeout=DEADLINE)
    assert queue.unfinished == 0


def array_holds(array: Any, told: list[bool], died: bool) -> None:
    assert sum(told) <= died
    first, second = array[0], array[1]
    assert first == second  # who came next was told, if they were not
    assert first in ({ITEMS - 1, ITEMS} if died else {ITEMS})
    with array.lock(timeout=DEADLINE):
        assert not array.owner_died or not any(told)


def limiter_holds(limiter: Any, through: list[bool], died: bool) -> None:
    assert all(through)
    free = limiter._home.free()
    assert 10 - free in ({ITEMS - 1, ITEMS} if died else {ITEMS})
    assert limiter.acquire(timeout=DEADLINE)


def permits(pool: Pool) -> Any:
    return pool.semaphore(2)


def pair(pool: Pool) -> Any:
    return pool.shared((0, b""))


def empty_queue(pool: Pool) -> Queue[int]:
    return pool.queue()


def numbers(pool: Pool) -> Any:
    return pool.array(2, "int64")


def limit(pool: Pool) -> Any:
    return pool.rate_limit(10, 600.0)


USES: dict[str, Use] = {
    "Lock": Use(Pool.lock, shared_calls.own, lock_holds, 19),
    "Semaphore": Use(permits, shared_calls.acquire, semaphore_holds, 236),
    "Counter.add": Use(Pool.counter, shared_calls.add, counter_holds, 11),
    "Counter.compare_and_set": Use(Pool.counter, shared_calls.set_next, counter_holds, 14),
    "Shared.lock": Use(pair, shared_calls.count_in_block, shared_holds, 79),
    "Shared.update": Use(pair, shared_calls.replace, shared_holds, 84),
    "Queue.put": Use(empty_queue, shared_calls.put, put_holds, 31),
    "Queue.get": Use(full_queue, shared_calls.get_and_mark, get_holds, 45),
    "Array": Use(numbers, shared_calls.write_two, array_holds, 70),
    "RateLimiter": Use(limit, shared_calls.let_through, limiter_holds, 80),
}

SOME = [
    pytest.param(4, id="some"),
    pytest.param(None, id="all", marks=[pytest.mark.stress, pytest.mark.timeout(900)]),
]


@pytest.mark.parametrize("some", SOME)
@pytest.mark.parametrize("use", USES)
def test_killed_at_any_line_of_a_call(
    make_pool: MakePool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    use: str,
    some: int | None,
) -> None:
    """One is charged, the rest runs once, and the state is free, and as before or after the change."""
    pool = make_pool(1)
    make, call, holds, most = USES[use]
    lines = Lines(some, most)
    for number in lines:
        thing = make(pool)
        starts = tmp_path / f"{number}"
        fn = partial(calls_and_dies, str(starts), FATAL, number, call, thing)
        outcomes: list[Any] = list(
            pool.map(fn, range(ITEMS), chunksize=ITEMS, return_exceptions=True, timeout=DEADLINE)
        )
        died = isinstance(outcomes[FATAL], WorkerLost)
        if died:
            assert f"item {FATAL} of map" in str(outcomes.pop(FATAL))
        assert not [each for each in outcomes if isinstance(each, BaseException)], (number, lines)
        assert started(starts) == {str(n): 1 for n in range(ITEMS)}
        holds(thing, outcomes, died)
        lines.died(died=died)
        del thing, fn
    assert lines.killed, lines
    with capsys.disabled():
        if some is None:
            print(f"\n{use}: {lines}")


# ------------------------------------------------------------------ while others wait for it

THINGS: dict[str, Callable[[Pool], Any]] = {
    "Lock": Pool.lock,
    "Semaphore": Pool.semaphore,
    "Shared": lambda pool: pool.shared(0),
    "Array": lambda pool: pool.array(1),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", THINGS)
def test_who_waits_for_a_killed_owner_gets_it(
    make_pool: MakePool, gate: Gate, kind: str, method: str
) -> None:
    """A task that waits, in another worker, goes on when the owner is killed, and is told how it came by it."""
    pool = make_pool(2, start_method=method)
    thing = THINGS[kind](pool)
    with Gate() as waiting:
        owner = pool.submit(shared_calls.hold_until_killed, thing, gate.path)
        pid = int(gate.arrival())
        following = pool.submit(shared_calls.take_next, thing, waiting.path)
        waiting.arrival()
        os.kill(pid, signal.SIGKILL)
        assert following.result(DEADLINE) is True
    assert isinstance(owner.exception(DEADLINE), WorkerLost)
    # Told once: who comes after has it from one that is well.
    with Gate() as waiting:
        again = pool.submit(shared_calls.take_next, thing, waiting.path)
        assert again.result(DEADLINE) is (kind in {"Semaphore", "Shared"})
    assert pool.stats().lost == 1
