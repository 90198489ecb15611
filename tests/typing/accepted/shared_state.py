"""Shared state and queues keep the type of what they hold."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Literal, assert_type

from workpool import (
    Array,
    Counter,
    Event,
    LifoQueue,
    Lock,
    Pool,
    PriorityQueue,
    Queue,
    RateLimiter,
    Semaphore,
    Shared,
    ShutDown,
    Task,
)

Scope = Literal["thread", "process", "engine"]


def from_the_pool(pool: Pool) -> None:
    """What a pool makes has its type, or takes it from the name it is bound to."""
    assert_type(pool.counter(), Counter)
    assert_type(pool.counter(5), Counter)
    assert_type(pool.shared({"a": 1}), Shared[dict[str, int]])
    assert_type(pool.shared(0), Shared[int])
    empty: Shared[list[str]] = pool.shared([])
    assert_type(empty.get(), list[str])
    assert_type(pool.lock(), Lock)
    assert_type(pool.semaphore(2), Semaphore)
    assert_type(pool.event(), Event)
    assert_type(pool.rate_limit(10, 60.0), RateLimiter)
    assert_type(pool.array((3, 4), "float32"), Array)
    jobs: Queue[str] = pool.queue(10)
    assert_type(jobs.get(), str)


def limits_and_arrays(pool: Pool) -> None:
    """A rate limit and an array, from the pool and alone."""
    limit = pool.rate_limit(10, per=60.0)
    assert_type(limit, RateLimiter)
    assert_type(RateLimiter(10, 60.0, scope="process"), RateLimiter)
    assert_type(limit.acquire(), bool)
    assert_type(limit.acquire(timeout=1.0), bool)
    assert_type(limit.calls, int)
    assert_type(limit.per, float)
    with limit:
        pass
    array = pool.array((2, 3), "float32")
    assert_type(array, Array)
    assert_type(pool.array(5), Array)
    assert_type(array.shape, tuple[int, ...])
    assert_type(array.dtype, str)
    assert_type(array.nbytes, int)
    assert_type(len(array), int)
    with array.lock(timeout=1.0) as view:
        view[0, 0] = 1.0
    array[0] = array[1]


def alone(scope: Literal["thread", "process"]) -> None:
    """The same made alone, where a scope may be named."""
    assert_type(Counter(), Counter)
    assert_type(Counter(1, scope="process").scope, Scope)
    assert_type(Shared([1], scope=scope), Shared[list[int]])
    assert_type(Lock(scope="thread"), Lock)
    assert_type(Semaphore(3, scope="process"), Semaphore)
    assert_type(Event(scope=scope), Event)
    assert_type(Array(3, int, scope=scope).shape, tuple[int, ...])
    assert_type(RateLimiter(10, per=0.5, scope=scope).acquire(timeout=1.0), bool)
    assert_type(Queue[int](), Queue[int])
    assert_type(Queue[int](3, scope="process"), Queue[int])


def as_arguments(pool: Pool) -> None:
    """They are arguments like any other."""

    def count(seen: Counter, best: Shared[float], results: Queue[bytes], n: int) -> int:
        results.put(b"")
        best.update(lambda old: max(old, n))
        return seen.add(n)

    results: Queue[bytes] = pool.queue()
    assert_type(pool.submit(count, pool.counter(), pool.shared(0.0), results, 1), Task[int])


def counters(counter: Counter) -> None:
    """A counter is of integers."""
    assert_type(counter.add(), int)
    assert_type(counter.add(-2), int)
    assert_type(counter.add(n=2), int)
    assert_type(counter.value, int)
    assert_type(counter.compare_and_set(1, 2), bool)
    assert_type(counter.compare_and_set(expected=1, new=2), bool)


def values(shared: Shared[list[str]]) -> None:
    """A shared value is of what it was made with."""
    assert_type(shared.get(), list[str])
    shared.set(["a"])
    assert_type(shared.update(lambda words: [*words, "b"]), list[str])
    with shared.lock() as box:
        assert_type(box.value, list[str])
        box.value += ["c"]
        box.value = []
    with shared.lock(timeout=1.0) as box:
        box.value.append("d")


def latches(lock: Lock, semaphore: Semaphore, event: Event) -> None:
    """Locks, semaphores and events have the shape of threading's."""
    with lock as got:
        assert_type(got, bool)
    assert_type(lock.acquire(), bool)
    assert_type(lock.acquire(False), bool)
    assert_type(lock.acquire(timeout=1.0), bool)
    assert_type(lock.locked(), bool)
    assert_type(lock.owner_died, bool)
    lock.release()
    with semaphore as got:
        assert_type(got, bool)
    assert_type(semaphore.acquire(blocking=False), bool)
    assert_type(semaphore.acquire(timeout=1.0), bool)
    semaphore.release()
    semaphore.release(2)
    assert_type(event.is_set(), bool)
    assert_type(event.wait(), bool)
    assert_type(event.wait(timeout=1.0), bool)
    event.set()
    event.clear()


def queues(jobs: Queue[str]) -> None:
    """A queue is of one type of item, in and out."""
    jobs.put("a")
    jobs.put("a", False)
    jobs.put("a", timeout=1.0)
    jobs.put_nowait("a")
    assert_type(jobs.get(), str)
    assert_type(jobs.get(timeout=1.0), str)
    assert_type(jobs.get_nowait(), str)
    jobs.task_done()
    jobs.join()
    jobs.join(timeout=1.0)
    assert_type(jobs.qsize(), int)
    assert_type(jobs.empty(), bool)
    assert_type(jobs.full(), bool)
    assert_type(jobs.maxsize, int)
    assert_type(jobs.unfinished, int)
    assert_type(jobs.unfinished_tasks, int)
    assert_type(jobs.is_shutdown, bool)
    assert_type(jobs.abandoned(), dict[int, int])
    assert_type(jobs.reclaim(), Iterator[str])
    for job in jobs:
        assert_type(job, str)
    jobs.shutdown()
    jobs.shutdown(immediate=True)
    try:
        jobs.get(block=False)
    except ShutDown:
        pass
    except queue.Empty:
        pass


def other_orders() -> None:
    """The other orders are queues too."""
    stack = LifoQueue[int](5)
    assert_type(stack.get(), int)
    heap: PriorityQueue[tuple[int, str]] = PriorityQueue()
    heap.put((1, "a"))
    assert_type(heap.get(), tuple[int, str])
    either: list[Queue[int]] = [stack, Queue[int]()]
    del either
