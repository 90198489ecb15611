"""Calls of the pool's API that race: submit, cancel, join, map, and the pool's end, from many threads.

Whoever wins, each task ends in exactly one way, the counts add up, and no future is left pending.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from contextlib import suppress
from itertools import count, islice
from queue import SimpleQueue
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.queues import until
from workpool import JoinTimeout, Pool, Task, WorkerLost
from workpool.errors import PoolClosed

BACKENDS = ["thread", "process", "inline"]
LONG = 6 * DEADLINE  # seconds, for a hundred thousand of something on a busy machine

ENDS: dict[str, Callable[[Pool], object]] = {
    "close": lambda pool: pool.close(),
    "shutdown": lambda pool: pool.shutdown(),
    "no_wait": lambda pool: pool.shutdown(wait=False),
    "cancel": lambda pool: pool.shutdown(cancel_futures=True),
    "cancel_no_wait": lambda pool: pool.shutdown(wait=False, cancel_futures=True),
    "kill": lambda pool: pool.kill(),
}


@pytest.fixture
def pool(request: pytest.FixtureRequest) -> Generator[Pool]:
    """Give a pool of two workers of the backend in turn, and see it to its end."""
    made = Pool(2, backend=request.param)
    yield made
    in_background(made.kill).result()
    in_background(made.shutdown).result()


on_every_backend = pytest.mark.parametrize("pool", BACKENDS, indirect=True)
concurrently = pytest.mark.parametrize("pool", ["thread", "process"], indirect=True)


def outcomes(submitted: Iterable[Task[Any]]) -> Counter[str]:
    """Count how tasks ended; all of them must have."""
    found: Counter[str] = Counter()
    for task in submitted:
        assert task.done(), f"left pending: {task!r}"
        if task.cancelled():
            found["cancelled"] += 1
        elif task.exception(0) is not None:
            found[type(task.exception(0)).__name__] += 1
        else:
            found["result"] += 1
    return found


# -------------------------------------------------------------------------------- cancel


@on_every_backend
def test_cancels_race_with_starts(pool: Pool) -> None:
    """Of 100,000 tasks each ends as result or as cancelled, and as many ran as have a result."""
    ran = pool.counter()
    # Inline, submit() runs the task itself, and few are left to be cancelled: there are fewer to show it with.
    total = 10_000 if "inline" in repr(pool) else 100_000
    to_cancel: SimpleQueue[Task[int] | None] = SimpleQueue()

    def cancel() -> int:
        return sum(task.cancel() for task in iter(to_cancel.get, None))

    def submit() -> list[Task[int]]:
        made: list[Task[int]] = []
        for _ in range(total):
            made.append(pool.submit(ran.add))
            to_cancel.put(made[-1])
        return made

    cancelling = [in_background(cancel) for _ in range(2)]
    submitted = in_background(submit).result(LONG)
    for _ in cancelling:
        to_cancel.put(None)
    told = sum(each.result(LONG) for each in cancelling)
    in_background(pool.join).result(LONG)
    found = outcomes(submitted)
    assert found["result"] + found["cancelled"] == total
    assert ran.value == found["result"]
    # More are cancelled than were told so: some were taken back from a process before they began.
    assert told <= found["cancelled"]
    assert pool.unfinished == 0
    stats = pool.stats()
    assert (stats.done, stats.cancelled) == (found["result"], found["cancelled"])


@concurrently
def test_cancels_race_with_kill(pool: Pool) -> None:
    """Tasks that are cancelled, by force or not, while the pool is killed end one way or the other."""
    with Gate() as gate:
        submitted = [pool.submit(tasks.hold, gate.path, n) for n in range(40)]
        gate.arrivals(2)
        together = threading.Barrier(4)

        def cancel(first: int) -> None:
            together.wait(DEADLINE)
            for n in range(first, 40, 3):
                submitted[n].cancel(kill=n % 2 == 0)

        def kill() -> None:
            together.wait(DEADLINE)
            pool.kill()

        for each in [*(in_background(cancel, first) for first in range(3)), in_background(kill)]:
            each.result()
        in_background(pool.shutdown).result()
        found = outcomes(submitted)
    assert set(found) <= {"cancelled", "WorkerLost"}
    assert found["WorkerLost"] <= 2
    assert pool.unfinished == 0


# ------------------------------------------------------------------- submit and the end


@pytest.mark.parametrize("end", ENDS)
@on_every_backend
def test_submits_race_with_the_end(pool: Pool, end: str) -> None:
    """From 16 threads: each submit is refused as by a closed pool, or its task comes to an end."""
    started = threading.Semaphore(0)

    def submit() -> list[Task[int]]:
        made: list[Task[int]] = []
        try:
            while True:
                made.append(pool.submit(tasks.double, len(made)))
                started.release()
        except PoolClosed:
            return made

    submitting = [in_background(submit) for _ in range(16)]
    for _ in range(200):
        assert started.acquire(timeout=DEADLINE)
    in_background(ENDS[end], pool).result(LONG)
    submitted = [task for each in submitting for task in each.result(LONG)]
    in_background(pool.shutdown).result(LONG)
    found = outcomes(submitted)
    assert pool.unfinished == 0
    allowed = {"result"}
    if end.startswith("cancel"):
        allowed.add("cancelled")
    elif end == "kill":
        allowed |= {"cancelled", "WorkerLost"}
    assert set(found) <= allowed


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("pool", ["process"], indirect=True)
def test_the_end_races_with_a_death(pool: Pool, end: str) -> None:
    """A worker that is killed while the pool is being ended costs the task it ran, and holds up nobody."""
    with Gate() as gate:
        running = [pool.submit(tasks.hold, gate.path, word) for word in "ab"]
        queued = [pool.submit(tasks.double, n) for n in range(20)]
        gate.arrivals(2)
        ending = in_background(ENDS[end], pool)
        until(lambda: pool._scheduler.closed)
        worker = pool._scheduler.workers.get(0)
        handle = getattr(worker, "_handle", None)
        if handle is not None:  # kill() may have been quicker
            with suppress(ProcessLookupError):
                os.kill(handle.pid, signal.SIGKILL)
            lost = next(task for task in running if task.worker == 0)
            assert isinstance(lost.exception(DEADLINE), WorkerLost)
        if end == "kill":
            ending.result()  # or the other one goes on before it is killed
    ending.result()
    in_background(pool.shutdown).result()
    found = outcomes([*running, *queued])
    if end == "kill":
        assert found == {"WorkerLost": 2, "cancelled": 20}
    elif end.startswith("cancel"):
        assert found == {"WorkerLost": 1, "result": 1, "cancelled": 20}
    else:
        assert found == {"WorkerLost": 1, "result": 21}
    assert pool.unfinished == 0


@pytest.mark.parametrize("pair", [(a, b) for a in ENDS for b in ENDS if a <= b], ids="-".join)
@concurrently
def test_two_ends_at_once(pool: Pool, pair: tuple[str, str]) -> None:
    """Whatever two threads end the pool with, both come back and every task has ended."""
    submitted = [pool.submit(tasks.double, n) for n in range(50)]
    together = threading.Barrier(2)

    def end(how: str) -> None:
        together.wait(DEADLINE)
        ENDS[how](pool)

    for each in [in_background(end, how) for how in pair]:
        each.result()
    in_background(pool.shutdown).result()
    outcomes(submitted)
    assert pool.unfinished == 0


# ------------------------------------------------------------------------------------ join


@concurrently
def test_joins_at_once_with_and_without_a_timeout(pool: Pool) -> None:
    """Those that are short of time say so, the others return together when all is done."""
    with Gate() as gate:
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        patient = [in_background(pool.join, timeout) for timeout in (None, None, LONG)]
        hasty = [in_background(pool.join, timeout) for timeout in (0.0, 0.01)]
        for each in hasty:
            with pytest.raises(JoinTimeout, match="1 tasks are not done"):
                each.result()
        assert not any(each.ended for each in patient)
    for each in patient:
        each.result()
    assert task.done()


@on_every_backend
def test_joins_race_with_submits(pool: Pool) -> None:
    """A join covers all that its thread submitted before, whatever others submit and join meanwhile."""

    def work() -> None:
        for round_ in range(30):
            mine = [pool.submit(tasks.double, round_) for _ in range(10)]
            pool.join(LONG)
            assert all(task.done() for task in mine), round_

    for each in [in_background(work) for _ in range(6)]:
        each.result(LONG)
    assert pool.unfinished == 0


# ------------------------------------------------------------------------------------- map


def _close(pool: Pool, gate: str) -> None:
    results = pool.map(tasks.report_and_hold(gate), count(), chunksize=2, buffersize=8)
    in_background(next, results)
    until(lambda: pool.stats().running > 0)
    results.close()


def _collect(pool: Pool, gate: str) -> None:
    results = pool.map(tasks.double, range(100_000), chunksize=10)
    results.cycle = results  # type: ignore[attr-defined]  # on purpose
    assert next(results) == 0
    del results, gate
    gc.collect()


def _break(pool: Pool, gate: str) -> None:
    del gate

    async def main() -> None:
        async for value in pool.map(tasks.double, count(), chunksize=3):
            if value > 100:
                break

    asyncio.run(main())


@pytest.mark.parametrize("how", [_close, _collect, _break])
@concurrently
def test_an_iterator_is_closed_while_its_items_run(
    pool: Pool, how: Callable[[Pool, str], None]
) -> None:
    """Its items that run end unseen, the rest never begin, and what another thread submits is not affected."""
    stop = threading.Event()

    def submit() -> list[Task[int]]:
        made: list[Task[int]] = []
        while not stop.is_set() or len(made) < 100:
            made.append(pool.submit(tasks.double, 21))
            if len(made) % 50 == 0:
                made[-50].result(DEADLINE)
        return made

    with Gate() as gate:
        submitting = in_background(submit)
        try:
            in_background(how, pool, gate.path).result()
        finally:
            stop.set()
            gate.open()
        submitted = submitting.result(LONG)
    in_background(pool.join).result(LONG)
    assert outcomes(submitted) == {"result": len(submitted)}
    assert pool.unfinished == 0


# --------------------------------------------------------------------- a single future


@concurrently
def test_many_threads_wait_for_one_future(pool: Pool) -> None:
    """All of them get its result, those that came early and those that came late."""
    with Gate() as gate:
        task = pool.submit(tasks.hold, gate.path, 21)
        gate.arrival()
        early = [in_background(task.result) for _ in range(32)]
    late = [in_background(task.result, DEADLINE) for _ in range(32)]
    assert [each.result() for each in early + late] == [21] * 64


@on_every_backend
def test_callbacks_race_with_completion(pool: Pool) -> None:
    """A callback that is added just as the task ends is called exactly once."""
    heard: Counter[int] = Counter()
    lock = threading.Lock()

    def note(number: int) -> None:
        with lock:
            heard[number] += 1

    def add(numbers: Iterable[int], task: Task[int]) -> None:
        for number in numbers:
            task.add_done_callback(lambda _, number=number: note(number))  # type: ignore[misc]  # mypy cannot infer a default

    numbers = count()
    for _ in range(200):
        task = pool.submit(tasks.double, 1)
        adding = [in_background(add, list(islice(numbers, 5)), task) for _ in range(2)]
        for each in adding:
            each.result()
    in_background(pool.join).result()
    assert set(heard.values()) == {1}
    assert len(heard) == 2_000


# ----------------------------------------------------------------------- all of it at once


@pytest.mark.parametrize(
    "rounds", [pytest.param(4, id="short"), pytest.param(150, id="full", marks=pytest.mark.stress)]
)
@pytest.mark.parametrize("backend", ["thread", "process"])
def test_anything_races_with_anything(backend: Any, rounds: int) -> None:
    """Four threads do what they like with a pool until a fifth ends it: no future is left pending."""
    seed = time.time_ns()
    print(f"seed {seed}")
    dice = random.Random(seed)
    for round_ in range(rounds):
        pool = Pool(2, backend=backend, name=f"round-{round_}-of-{seed}")
        seeds = [dice.random() for _ in range(4)]
        users = [in_background(_use, pool, random.Random(one)) for one in seeds]
        threading.Event().wait(dice.uniform(0.0, 0.2))  # the moment is what is random here
        end = dice.choice(list(ENDS))
        in_background(ENDS[end], pool).result(LONG)
        submitted = [task for user in users for task in user.result(LONG)]
        in_background(pool.shutdown).result(LONG)
        found = outcomes(submitted)
        assert set(found) <= {"result", "cancelled", "WorkerLost"}, (seed, round_, end)
        assert pool.unfinished == 0, (seed, round_, end)


def _use(pool: Pool, dice: random.Random) -> list[Task[int]]:
    """Do one thing after the other until the pool is closed; gives what was submitted."""
    made: list[Task[int]] = []
    with suppress(PoolClosed, CancelledError, WorkerLost):
        while True:
            what = dice.randrange(7)
            if what < 3 or not made:
                made.append(pool.submit(tasks.double, 21))
            elif what == 3:
                dice.choice(made).cancel(kill=dice.random() < 0.1)
            elif what == 4:
                with suppress(JoinTimeout):
                    pool.join(dice.uniform(0.0, 0.01))
            elif what == 5:
                with suppress(CancelledError, WorkerLost):
                    dice.choice(made).result(DEADLINE)
            else:
                results = pool.map(tasks.double, range(40))
                for _ in islice(results, dice.randrange(40)):
                    pass
                results.close()
    return made
