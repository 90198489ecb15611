"""A race, made to happen each time, and its three cures.

``n = tally["n"]`` and ``tally["n"] = n + 1`` are two steps. Two threads that
both have read before either writes count one instead of two: the barrier sees to it.

Prints::

    racy:    1 of 2
    Lock:    2000 of 2000
    Counter: 2000 of 2000
    Shared:  2000 of 2000
"""

import threading

from workpool import Counter, Lock, Pool, Shared


def add_racy(tally: dict[str, int], both_have_read: threading.Barrier) -> None:
    n = tally["n"]
    both_have_read.wait(timeout=30)
    tally["n"] = n + 1  # puts back what the other one has read as well: an update is lost


def add_with_lock(tally: dict[str, int], lock: Lock) -> None:
    with lock:  # one thread at a time takes both steps
        tally["n"] += 1


def add_to_counter(counter: Counter) -> None:
    counter.add()  # reads and writes as one step


def add_to_shared(tally: Shared[dict[str, int]]) -> None:
    with tally.lock() as box:  # any value, any change: all of it or nothing
        box.value["n"] += 1


def main() -> None:
    with Pool(2) as pool:
        racy, barrier = {"n": 0}, threading.Barrier(2)
        pool.submit(add_racy, racy, barrier)
        pool.submit(add_racy, racy, barrier)

        guarded, lock = {"n": 0}, pool.lock()
        counter = pool.counter()
        shared = pool.shared({"n": 0})
        for _ in range(2000):
            pool.submit(add_with_lock, guarded, lock)
            pool.submit(add_to_counter, counter)
            pool.submit(add_to_shared, shared)
    print("racy:   ", racy["n"], "of 2")
    print("Lock:   ", guarded["n"], "of 2000")
    print("Counter:", counter.value, "of 2000")
    print("Shared: ", shared.get()["n"], "of 2000")


if __name__ == "__main__":
    main()
