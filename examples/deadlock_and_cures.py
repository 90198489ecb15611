"""A deadlock, made to happen each time, and its cures.

Each of two transfers has locked one account and waits for the other's: for ever, if
nothing bounds the wait. The barrier sees to it that both have their first lock.

Prints::

    each in an order of its own: gave up, gave up
    all in the same order:       ann 500, bob 1500
    one lock taken twice:        WouldDeadlock
"""

import threading
from dataclasses import dataclass

from workpool import Lock, Pool, WouldDeadlock


@dataclass
class Account:
    lock: Lock
    balance: int = 1000


def transfer_carelessly(source: Account, target: Account, both: threading.Barrier) -> str:
    with source.lock:
        both.wait(timeout=30)  # both have their first lock
        moved = target.lock.acquire(timeout=0.1)  # the first cure: a wait that ends
        both.wait(timeout=30)  # both have tried
        if moved:
            target.lock.release()
    return "moved" if moved else "gave up"


def transfer(source: Account, target: Account, amount: int) -> None:
    first, second = sorted((source, target), key=id)
    with first.lock, second.lock:  # the second cure: whoever takes both begins with the same
        source.balance -= amount
        target.balance += amount


def main() -> None:
    with Pool(2) as pool:
        ann, bob = Account(pool.lock()), Account(pool.lock())
        pairs, both = [(ann, bob), (bob, ann)], threading.Barrier(2)
        careless = [pool.submit(transfer_carelessly, *pair, both) for pair in pairs]
        print("each in an order of its own:", ", ".join(task.result() for task in careless))
        for n in range(1000):
            pool.submit(transfer, *pairs[n % 2], 2 - n % 2)  # 2 to bob, 1 to ann, in turn
    print(f"all in the same order:       ann {ann.balance}, bob {bob.balance}")
    try:
        with ann.lock, ann.lock:  # a thread would wait for itself: refused at once
            pass
    except WouldDeadlock as error:
        print("one lock taken twice:       ", type(error).__name__)


if __name__ == "__main__":
    main()
