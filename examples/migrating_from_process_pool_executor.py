"""From ProcessPoolExecutor: ``Pool(backend="process")``, and a dead worker breaks nothing.

In the standard library's pool a worker that dies takes all other tasks and the
pool along. Here the task that it was running fails, and nothing else.

Prints::

    before: [0, 1, 4, 9]
    before: a worker dies, and the next task is refused: BrokenProcessPool
    after:  [0, 1, 4, 9]
    after:  a worker dies, and the next task returns 25
"""

import multiprocessing
import os
import sys
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor

from workpool import Pool


def prepare(digits: int) -> None:
    """Set up a worker; both kinds of pool call it before a worker's first task."""
    sys.set_int_max_str_digits(digits)


def square(n: int) -> int:
    return n * n


def fall_dead() -> None:
    os._exit(7)


def after_a_death(executor: Executor) -> str:
    death = executor.submit(fall_dead)
    assert isinstance(death.exception(timeout=30), BrokenExecutor)  # on both
    try:
        return f"returns {executor.submit(square, 5).result(timeout=30)}"
    except BrokenExecutor as error:
        return f"is refused: {type(error).__name__}"


def main() -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn, initializer=prepare, initargs=(1000,)) as executor:
        print("before:", list(executor.map(square, range(4))))
        print("before: a worker dies, and the next task", after_a_death(executor))

    with Pool(2, backend="process", initializer=prepare, initargs=(1000,)) as pool:
        print("after: ", list(pool.map(square, range(4))))
        print("after:  a worker dies, and the next task", after_a_death(pool))


if __name__ == "__main__":
    main()
