"""From ThreadPoolExecutor: change the import, and the name where the pool is made.

A ``Pool`` is a ``concurrent.futures.Executor`` and a task is a ``Future``, so
``wait``, ``as_completed`` and whatever else takes an executor take a pool.

Prints::

    before: 3 lengths [3, 4, 5], squares [0, 1, 4, 9], sum 14
    after:  3 lengths [3, 4, 5], squares [0, 1, 4, 9], sum 14
    new:    joined with 0 unfinished, 4 results from an endless input
"""

from concurrent.futures import Executor, ThreadPoolExecutor, as_completed, wait
from itertools import count, islice

from workpool import Pool


def square(n: int) -> int:
    return n * n


def work(executor: Executor) -> str:
    """Use an executor as most programs do; it does not matter which."""
    futures = [executor.submit(len, word) for word in ("one", "four", "seven")]
    done, _ = wait(futures, timeout=30)
    lengths = sorted(future.result() for future in done)
    squares = list(executor.map(square, range(4)))
    total = sum(f.result() for f in as_completed([executor.submit(square, n) for n in range(4)]))
    return f"{len(done)} lengths {lengths}, squares {squares}, sum {total}"


def main() -> None:
    with ThreadPoolExecutor(max_workers=2) as executor:
        print("before:", work(executor))

    with Pool(max_workers=2) as pool:
        print("after: ", work(pool))

        # What there was no call for: wait for everything and keep the pool; map without an end.
        pool.join(timeout=30)
        left = pool.unfinished
        first = list(islice(pool.map(square, count()), 4))
        print(f"new:    joined with {left} unfinished, {len(first)} results from an endless input")


if __name__ == "__main__":
    main()
