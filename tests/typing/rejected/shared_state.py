"""What shared state and queues must not take."""

from __future__ import annotations

from workpool import (
    Counter,
    Event,
    LifoQueue,
    Lock,
    Pool,
    PriorityQueue,
    Queue,
    Semaphore,
    Shared,
)


def from_the_pool(pool: Pool) -> None:
    """What a pool makes is of one type, and where it lives is the pool's business."""
    pool.counter("1")  # E
    pool.counter(1.5)  # E
    pool.counter(scope="process")  # E
    pool.shared()  # E
    pool.lock(1)  # E
    pool.semaphore("2")  # E
    pool.queue("10")  # E
    jobs: Queue[str] = pool.queue()
    jobs.put(1)  # E
    number: Shared[int] = pool.shared("a")  # E
    pool.rate_limit()  # E
    pool.rate_limit("10")  # E
    pool.rate_limit(10, per="minute")  # E
    pool.rate_limit(10, scope="process")  # E
    pool.array()  # E
    pool.array("5")  # E
    pool.array((1.5,))  # E
    del number


def alone() -> None:
    """Scopes that there are not, and values of another type."""
    Counter(scope="interpreter")  # E
    Counter(1, "process")  # E
    Shared(1, scope="manager")  # E
    Lock("process")  # E
    Lock(scope="processes")  # E
    Semaphore(2, scope=None)  # E
    Event(scope="proc")  # E
    Queue[int](scope="host")  # E
    Queue[int]("3")  # E


def counters(counter: Counter) -> None:
    """A counter is of integers, and changed by its calls alone."""
    counter.add("1")  # E
    counter.add(1.5)  # E
    counter.compare_and_set(1)  # E
    counter.compare_and_set("1", 2)  # E
    counter.value = 3  # E
    counter.value += 1  # E
    counter += 1  # E


def values(shared: Shared[int]) -> None:
    """A shared value keeps its type."""
    shared.set("a")  # E
    shared.set()  # E
    shared.update(lambda n: str(n))  # E
    shared.update(len)  # E
    shared.update(3)  # E
    with shared.lock() as box:
        box.value += 1
        box.value = "a"  # E
        box.valeu = 2  # E
    shared.value  # E
    text: str = shared.get()  # E
    with shared as direct:  # E
        del direct
    wider: Shared[object] = shared  # E
    del text, wider


def latches(lock: Lock, semaphore: Semaphore, event: Event) -> None:
    """Calls of another shape."""
    lock.acquire("now")  # E
    lock.acquire(timeout="2")  # E
    lock.release(1)  # E
    semaphore.release("1")  # E
    semaphore.acquire(n=2)  # E
    event.wait("1")  # E
    event.set(True)  # E
    with event:  # E
        pass


def queues(jobs: Queue[str]) -> None:
    """A queue is of one type of item, in and out."""
    jobs.put(1)  # E
    jobs.put()  # E
    jobs.put_nowait(b"a")  # E
    jobs.put("a", timeout="1")  # E
    number: int = jobs.get()  # E
    jobs.get_nowait(timeout=1.0)  # E
    jobs.task_done(1)  # E
    jobs.join(wait=True)  # E
    jobs.shutdown(wait=True)  # E
    for job in jobs:
        job.upper()
        job.is_integer()  # E
    wider: Queue[object] = jobs  # E
    narrower: LifoQueue[str] = jobs  # E
    heap = PriorityQueue[int]()
    heap.put("a")  # E
    del number, wider, narrower


def as_arguments(pool: Pool) -> None:
    """They are arguments like any other."""

    def count(seen: Counter, results: Queue[bytes]) -> int:
        results.put(b"")
        return seen.add()

    right: Queue[bytes] = pool.queue()
    wrong: Queue[str] = pool.queue()
    pool.submit(count, pool.counter(), right)
    pool.submit(count, pool.counter(), wrong)  # E
    pool.submit(count, pool.shared(0), right)  # E
