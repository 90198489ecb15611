"""Tasks that wait for their own pool, while what they wait for fails, pauses, is late, or is not even queued."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import as_completed, wait
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background, stop
from tests.support.on_the_way import stopped_before
from tests.support.queues import until
from workpool import Pool, Task, WouldDeadlock
from workpool.backends.thread import ThreadWorker

LOCAL: list[Any] = ["thread", "inline"]


class Flaky:
    """Fails the first time that it is called, and gives 2 from then on."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: object) -> int:
        self.calls += 1
        if self.calls == 1:
            raise LookupError
        return 2


def make(backend: Any, backoff: float = 0.0) -> Pool:
    """Make a pool of one worker that runs again what fails by a LookupError."""
    return Pool(1, backend=backend, retries=1, retry_on=LookupError, backoff=backoff)


def end(pool: Pool) -> None:
    """End a pool in which nothing is left, and nothing is lent."""
    in_background(pool.join, DEADLINE).result()
    until(lambda: pool._scheduler._extra == 0)
    assert pool.unfinished == 0
    in_background(pool.shutdown).result()


@pytest.fixture(params=LOCAL)
def pausing(request: pytest.FixtureRequest) -> Generator[Pool]:
    """Give a pool of one worker in which what fails pauses before it runs again."""
    made = make(request.param, backoff=0.01)
    yield made
    end(made)


# ------------------------------------------------------------- what fails runs again


def _in_a_group(pool: Pool, fn: Callable[[], int]) -> int:
    with pool.group() as group:
        task = group.submit(fn)
    return task.result()


AGAIN: dict[str, Callable[[Pool, Flaky], int]] = {
    "result": lambda pool, flaky: pool.submit(flaky).result(),
    "exception": lambda pool, flaky: 2 if pool.submit(flaky).exception() is None else 0,
    "group": _in_a_group,
    "with a timeout": lambda pool, flaky: pool.submit(flaky).result(DEADLINE),
}


@pytest.mark.parametrize("backoff", [0.0, 0.01], ids=["at once", "after a pause"])
@pytest.mark.parametrize("how", AGAIN)
@pytest.mark.parametrize("backend", LOCAL)
def test_what_a_task_waits_for_may_fail_and_run_again(
    backend: str, how: str, backoff: float
) -> None:
    """It runs inside the only worker, fails there, and is helped along once more."""
    pool, flaky = make(backend, backoff), Flaky()
    outer = in_background(lambda: pool.submit(AGAIN[how], pool, flaky).result(DEADLINE))
    assert outer.result(2 * DEADLINE) == 2
    assert flaky.calls == 2
    end(pool)


# --------------------------------------------------- what is queued after the wait began


def _awaited(task: Task[int]) -> int:
    async def main() -> int:
        return await task

    return asyncio.run(main())


PAUSES: dict[str, Callable[[Task[int]], int]] = {
    "result": lambda task: task.result(),
    "with a timeout": lambda task: task.result(DEADLINE),
    "wait": lambda task: wait([task]).done.pop().result(),
    "as_completed": lambda task: next(as_completed([task])).result(),
    "await": _awaited,
}


def _is_slept_on(task: Task[int]) -> bool:
    """Tell whether somebody has fallen asleep until a task is done."""
    extras = task._extras
    if extras is None:
        return False
    waiters = any(waiter.event._sleepers for waiter in extras.waiters)
    return bool(extras.sleepers or extras.callbacks or waiters)


@pytest.mark.parametrize("how", PAUSES)
def test_what_a_task_waits_for_may_pause(pausing: Pool, how: str) -> None:
    """Nothing is queued as the only worker begins to wait; what pauses runs when its pause is over, and not before."""
    flaky = Flaky()
    with stopped_before(pausing._scheduler, "_due") as over:
        task = pausing.submit(flaky)
        over.arrival()
        outer = in_background(lambda: pausing.submit(PAUSES[how], task).result(DEADLINE))
        until(lambda: _is_slept_on(task))
        assert flaky.calls == 1
        over.go()
        assert outer.result(2 * DEADLINE) == 2


def test_an_item_that_a_task_waits_for_may_pause(pausing: Pool) -> None:
    """The only worker consumes a map call of its own pool, of which the next item pauses."""
    with stopped_before(pausing._scheduler, "_due") as over:
        results = in_background(pausing.map, Flaky(), [1]).result()
        over.arrival()
        outer = in_background(lambda: pausing.submit(list, results).result(DEADLINE))
        until(lambda: bool(results._job.listeners))
        over.go()
        assert outer.result(2 * DEADLINE) == [2]


@pytest.mark.parametrize("backend", LOCAL)
def test_a_join_may_have_the_input_that_a_task_waits_for(backend: Any) -> None:
    """The only worker consumes a map call whose input another thread has in hand, and queues later."""
    pool = make(backend)
    asked, go = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        yield 0
        asked.set()
        assert go.wait(DEADLINE)
        yield 1
        yield 2

    results = pool.map(tasks.double, source(), buffersize=1)
    joins = in_background(pool.join)
    assert asked.wait(DEADLINE)
    outer = in_background(lambda: pool.submit(list, results).result(DEADLINE))
    until(lambda: bool(results._job.listeners))  # and the first was there already
    go.set()
    assert outer.result(2 * DEADLINE) == [0, 2, 4]
    joins.result()
    end(pool)


def test_a_task_of_another_pool_may_wait_for_one_that_pauses() -> None:
    """Two pools of one worker wait for each other, and nothing is queued as they begin to."""
    first, second, flaky = make("thread", backoff=0.01), make("thread"), Flaky()
    with stopped_before(first._scheduler, "_due") as over:
        task = first.submit(flaky)
        over.arrival()
        outer = first.submit(lambda: second.submit(task.result).result())
        until(lambda: _is_slept_on(task))
        worker: Any = first._scheduler.workers[0]
        until(lambda: worker.waits_on is not None)
        over.go()
        assert outer.result(DEADLINE) == 2
    end(first)
    end(second)


def test_a_task_that_has_help_may_be_part_of_a_circle() -> None:
    """The one that helps waits for another pool, which waits for this one: all of its workers wait, each in its way."""
    with Pool(1) as first, Pool(1) as second:

        def helper() -> int:
            return second.submit(lambda: first.submit(tasks.double, 1).result()).result()

        outer = first.submit(lambda: wait([first.submit(helper)]).done.pop().result())
        assert outer.result(DEADLINE) == 2


def test_the_first_of_several_that_a_task_waits_for_may_be_part_of_a_circle() -> None:
    """It begins to wait for our pool when the last of those that our worker asked for is done."""
    with Pool(1) as first, Pool(2) as second:
        both_awaited, last_is_done = threading.Event(), threading.Event()

        def circle() -> int:
            assert last_is_done.wait(DEADLINE)
            return first.submit(tasks.double, 1).result()

        async def both() -> int:
            last = second.submit(both_awaited.wait, DEADLINE)
            last.add_done_callback(lambda _: last_is_done.set())
            found = asyncio.gather(second.submit(circle), last)
            await asyncio.sleep(0)  # each is awaited then, in this order
            both_awaited.set()
            return (await found)[0]

        def waits() -> int:
            return asyncio.run(both())

        assert first.submit(waits).result(DEADLINE) == 2


@pytest.mark.parametrize("chunksize", [None, 1])
@pytest.mark.parametrize("backend", ["thread", "process", "inline"])
def test_an_input_that_waits_for_its_own_results(backend: Any, chunksize: int | None) -> None:
    """Where all that it has given were taken, the next one would come of what it gives next: it is refused."""

    def source() -> Iterator[int]:
        yield 0
        yield next(results)

    with Pool(1, backend=backend) as pool:
        results = pool.map(tasks.double, source(), buffersize=1, chunksize=chunksize)
        with pytest.raises(WouldDeadlock, match="waits for a result of this very call"):
            in_background(list, results).result()
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


@pytest.mark.parametrize("backend", ["thread", "process", "inline"])
def test_an_input_may_take_results_that_are_on_their_way(backend: Any) -> None:
    """The consumer goes without them."""

    def source() -> Iterator[int]:
        for number in range(8):
            yield number
            if number == 5:
                taken.append(next(results))

    taken: list[int] = []
    with Pool(1, backend=backend) as pool:
        results = pool.map(tasks.double, source(), buffersize=4)
        given = in_background(list, results).result()
    assert sorted([*taken, *given]) == [2 * number for number in range(8)]
    assert len(taken) == 1


def test_help_is_given_back_when_a_wait_ends() -> None:
    """A task that goes on after it has waited has no worker more than before."""
    pool = make("thread", backoff=0.01)

    def waits() -> int:
        pool.submit(Flaky()).result()
        return pool._scheduler._extra

    assert pool.submit(waits).result(DEADLINE) == 0
    end(pool)


# ------------------------------------------------------------------------ what is late


def test_a_task_may_wait_for_one_that_is_not_on_the_books_yet() -> None:
    """It was accepted in a step of another pool; whoever waits for it first counts it, and runs it."""
    with Pool(1) as other, Pool(1) as pool, Gate() as gate:
        late: list[Task[int]] = []
        scheduler = pool._scheduler

        def waits() -> int:
            stop(gate.path)
            return late[0].result()

        outer = pool.submit(waits)
        gate.arrival()
        held, free = threading.Event(), threading.Event()

        def hold() -> None:
            with scheduler.lock:
                held.set()
                free.wait(DEADLINE)

        holder = in_background(hold)
        assert held.wait(DEADLINE)
        with stopped_before(scheduler, "_attend_late") as attends:
            with other._scheduler.lock:  # as a finalizer would that strikes there
                late.append(pool.submit(tasks.double, 1))
            free.set()
            holder.result()
            attends.arrival()
            gate.open()
            assert outer.result(DEADLINE) == 2
        in_background(pool.join, DEADLINE).result()
        assert pool.unfinished == 0


# ---------------------------------------------------------------------------- timeouts


def test_a_timeout_is_kept_inside_of_a_task() -> None:
    """What it waits for does not run inside the one that waits, which is told in time."""
    with Pool(1) as pool, Gate() as gate:

        def waits() -> bool:
            task = pool.submit(tasks.hold, gate.path, 1)
            with pytest.raises(TimeoutError):
                task.result(timeout=0.05)
            return task.done()

        assert pool.submit(waits).result(DEADLINE) is False


def test_what_is_waited_for_with_a_timeout_runs_next() -> None:
    """Not behind all that is queued: then it would be too late, where it was not without a timeout."""
    with Pool(1) as pool:
        order: list[int] = []

        def waits() -> None:
            submitted = [pool.submit(order.append, n) for n in range(3)]
            submitted[-1].result(DEADLINE)

        pool.submit(waits).result(DEADLINE)
        in_background(pool.join, DEADLINE).result()
        assert order[0] == 2  # the others may be run by two, until that one ends which was lent
        assert sorted(order) == [0, 1, 2]


def test_a_worker_that_is_ready_after_the_wait_does_what_it_was_lent_for() -> None:
    """One task, and then it leaves: else a task that waits again and again would hire for ever."""
    begun, looked_up, ran = (threading.Event() for _ in range(3))

    def begin() -> None:
        if begun.is_set():
            assert looked_up.wait(DEADLINE)
        begun.set()

    with Pool(1, initializer=begin) as pool:

        def waits() -> bool:
            task, other = pool.submit(ran.set), pool.submit(int)
            with pytest.raises(TimeoutError):
                task.result(timeout=0.01)
            looked_up.set()
            assert ran.wait(DEADLINE / 4)
            until(lambda: len(pool._scheduler.workers) == 1)
            return other.done()

        assert pool.submit(waits).result(DEADLINE) is False


def test_without_a_thread_to_lend_a_task_runs_inside_the_one_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A timeout is no reason to wait for a worker that the system has no thread for."""
    with Pool(1) as pool:
        pool.submit(int).result(DEADLINE)

        def no_more(_: ThreadWorker) -> None:
            raise RuntimeError("can't start new thread")

        worker: Any = pool._scheduler.workers[0]
        monkeypatch.setattr(ThreadWorker, "start", no_more)
        outer = pool.submit(lambda: pool.submit(threading.get_ident).result(DEADLINE))
        assert outer.result(DEADLINE / 2) == worker.ident


def _split(pool: Pool, left: int) -> int:
    if not left:
        return 1
    halves = [pool.submit(_split, pool, left - 1) for _ in range(2)]
    return sum(half.result(DEADLINE) for half in halves)


def test_many_timeouts_do_not_make_a_thread_each() -> None:
    """A task that splits itself again and again, each part waiting with a timeout, gets some threads, no hundreds."""
    with Pool(1) as pool:
        most = [0]
        split = pool.submit(_split, pool, 8)

        def watch() -> None:
            while not split.done():
                most[0] = max(most[0], len(pool._scheduler.workers))

        watches = in_background(watch)
        assert split.result(DEADLINE) == 256
        watches.result()
        assert most[0] <= 1 + 32
