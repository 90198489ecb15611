"""What a pool makes for its tasks to share: one API, and the same promises, on every backend."""

from __future__ import annotations

import os
import time
from functools import partial

import pytest

from tests.contract.conftest import MakePool
from tests.support.gates import DEADLINE, Gate, say, stop
from workpool import (
    Counter,
    Event,
    Lock,
    Pool,
    Queue,
    RateLimiter,
    Semaphore,
    Shared,
    ShutDown,
    WorkerLost,
    WouldDeadlock,
)


def add_to(counter: Counter, times: int) -> list[int]:
    return [counter.add() for _ in range(times)]


def append(shared: Shared[list[int]], n: int) -> None:
    with shared.lock() as box:
        box.value.append(n)


def add_slowly(lock: Lock, shared: Shared[int]) -> None:
    with lock:
        seen = shared.get()
        shared.set(seen + 1)


def hold_lock(lock: Lock, gate: str) -> None:
    with lock:
        stop(gate, "held")


def die_with_lock(lock: Lock, shared: Shared[int]) -> None:
    lock.acquire()
    shared.lock().__enter__().value = 99
    os._exit(3)


def use_permit(semaphore: Semaphore, gate: str) -> bool:
    with semaphore:
        stop(gate)
        return semaphore.acquire(blocking=False)


def wait_for(event: Event, gate: str) -> bool:
    say(gate, "waiting")
    return event.wait(DEADLINE)


def produce(queue: Queue[int], items: range) -> None:
    for item in items:
        queue.put(item, timeout=DEADLINE)


def consume(queue: Queue[int]) -> list[int]:
    return list(queue)


def take_and_die(queue: Queue[str]) -> None:
    queue.get(timeout=DEADLINE)
    os._exit(3)


def test_no_increment_is_lost(pool: Pool) -> None:
    """Each add() of 1 returns a value of its own, whatever adds at the same time."""
    counter = pool.counter(10)
    results = pool.starmap(add_to, [(counter, 25)] * 8)
    seen = [value for values in results for value in values]
    assert sorted(seen) == list(range(11, 211))
    assert counter.value == 210


def test_a_counter_is_compared_and_set(pool: Pool) -> None:
    """The value changes if it is what the caller thinks; beyond 64 bits nothing changes."""
    counter = pool.counter()
    assert counter.compare_and_set(0, 5)
    assert not counter.compare_and_set(0, 6)
    with pytest.raises(OverflowError):
        counter.add(2**63)
    assert counter.value == 5


def test_a_shared_value_takes_every_change(pool: Pool) -> None:
    """A block that ends puts its value back whole; nobody's change is overwritten."""
    shared = pool.shared([0])
    pool.starmap(append, [(shared, n) for n in range(1, 21)])
    pool.join(DEADLINE)
    assert sorted(shared.get()) == list(range(21))


def test_a_block_that_fails_changes_nothing(pool: Pool) -> None:
    """An exception in the block leaves the value as it was, and the lock free."""
    shared = pool.shared({"a": 1})

    def fail() -> None:
        with shared.lock() as box:
            box.value["a"] = 2
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert shared.get() == {"a": 1}
    assert shared.update(lambda value: {**value, "b": 2}) == {"a": 1, "b": 2}


def test_a_lock_excludes(pool: Pool) -> None:
    """What is read and written under the lock is not torn apart."""
    lock, shared = pool.lock(), pool.shared(0)
    pool.starmap(add_slowly, [(lock, shared)] * 10)
    pool.join(DEADLINE)
    assert shared.get() == 10
    assert not lock.locked()


def test_a_lock_knows_its_owner(pool: Pool) -> None:
    """Who has it cannot wait for itself, and who has it not cannot release it."""
    lock = pool.lock()
    with lock:
        assert lock.locked()
        again = lock.acquire(blocking=False)
        assert not again
        with pytest.raises(WouldDeadlock):
            lock.acquire()
    with pytest.raises(RuntimeError):
        lock.release()


@pytest.mark.needs("concurrent")
def test_a_lock_held_by_a_task_is_waited_for(pool: Pool, gate: Gate) -> None:
    """The program waits for a task's lock, no longer than it says, and gets it afterwards."""
    lock = pool.lock()
    pool.submit(hold_lock, lock, gate.path)
    assert gate.arrival() == "held"
    in_time = lock.acquire(timeout=0.05)
    assert not in_time
    gate.open()
    assert lock.acquire(timeout=DEADLINE)
    lock.release()


@pytest.mark.needs("ends_tasks")
def test_a_lock_outlives_its_owner(make_pool: MakePool) -> None:
    """A worker that dies with a lock leaves it free, says so, and what was open as it was before."""
    pool = make_pool(1)
    lock, shared = pool.lock(), pool.shared(1)
    task = pool.submit(die_with_lock, lock, shared)
    assert isinstance(task.exception(DEADLINE), WorkerLost)
    with lock:
        died = lock.owner_died
        assert died
    died = lock.owner_died
    assert not died
    assert shared.get() == 1


@pytest.mark.needs("concurrent")
def test_a_semaphore_bounds(pool: Pool, gate: Gate) -> None:
    """No more than its permits are out; those who wait get what comes back."""
    semaphore = pool.semaphore(1)
    tasks = [pool.submit(use_permit, semaphore, gate.path) for _ in range(2)]
    gate.arrival()
    in_time = semaphore.acquire(timeout=0.05)
    assert not in_time
    gate.open()
    assert [task.result(DEADLINE) for task in tasks] == [False, False]
    with semaphore:
        pass
    with pytest.raises(ValueError, match="brought back"):
        semaphore.release()


def call_at(limiter: RateLimiter, _: int) -> float:
    with limiter:
        return time.monotonic()


def test_a_rate_is_kept_over_all_workers(pool: Pool) -> None:
    """In no window of its length are there more calls than allowed, whoever makes them."""
    closest = 0.0
    for _ in range(3):
        limiter = pool.rate_limit(2, per=0.1)
        assert (limiter.calls, limiter.per) == (2, 0.1)
        began = time.monotonic()
        moments = sorted(pool.map(partial(call_at, limiter), range(8), chunksize=1))
        # A moment is noted after the call was let through: none comes too early, however busy the machine is.
        assert all(at - began > 0.1 * (n // 2) - 0.001 for n, at in enumerate(moments))
        # One that is noted late comes too close to the next: that is not so each time.
        gaps = [later - earlier for earlier, later in zip(moments, moments[2:], strict=False)]
        closest = max(closest, min(gaps))
        if closest > 0.09:
            break
    assert closest > 0.09


@pytest.mark.needs("concurrent")
def test_an_event_wakes_who_waits(pool: Pool, gate: Gate) -> None:
    """A flag that goes up is seen by all tasks that wait for it."""
    event = pool.event()
    tasks = [pool.submit(wait_for, event, gate.path) for _ in range(2)]
    gate.arrivals(2)
    event.set()
    assert [task.result(DEADLINE) for task in tasks] == [True, True]
    event.clear()
    assert not event.wait(0.01)


@pytest.mark.needs("concurrent")
def test_a_queue_connects_tasks(pool: Pool) -> None:
    """What one task puts another takes, in order, through a bound that is smaller."""
    queue: Queue[int] = pool.queue(2)
    consumer = pool.submit(consume, queue)
    pool.submit(produce, queue, range(30)).result(DEADLINE)
    queue.join(DEADLINE)
    assert queue.unfinished == 0
    queue.shutdown()
    assert consumer.result(DEADLINE) == list(range(30))
    with pytest.raises(ShutDown):
        queue.put(1)


def test_a_queue_counts_what_is_not_done(pool: Pool) -> None:
    """qsize falls with get, unfinished with task_done; one too many of those is an error."""
    queue: Queue[int] = pool.queue()
    queue.put(1)
    queue.put(2)
    assert (queue.qsize(), queue.unfinished) == (2, 2)
    assert queue.get() == 1
    assert (queue.qsize(), queue.unfinished) == (1, 2)
    with pytest.raises(TimeoutError):
        queue.join(timeout=0)
    queue.task_done()
    assert queue.get() == 2
    queue.task_done()
    queue.join(timeout=0)
    with pytest.raises(ValueError, match="task_done"):
        queue.task_done()


@pytest.mark.needs("ends_tasks")
def test_an_item_of_a_dead_consumer_is_not_lost(make_pool: MakePool) -> None:
    """What a worker had taken when it died is told by join, and can be taken over."""
    pool = make_pool(1)
    queue: Queue[str] = pool.queue()
    queue.put("precious")
    task = pool.submit(take_and_die, queue)
    assert isinstance(task.exception(DEADLINE), WorkerLost)
    with pytest.raises(WorkerLost):
        queue.join(DEADLINE)
    assert sum(queue.abandoned().values()) == 1
    for item in queue.reclaim():
        assert item == "precious"
        queue.task_done()
    queue.join(0)
    queue.shutdown()
