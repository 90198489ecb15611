"""Interpreters for CPU work: all cores within one process, on Python 3.14.

Each worker is an interpreter with a GIL of its own: no process is started, and what
a task keeps in a global is its worker's alone. An older Python says that it has none, and
the same lines run in processes.

Prints::

    primes below  20,000: 2,262
    primes below  40,000: 4,203
    primes below  60,000: 6,057
    primes below  80,000: 7,837
    tasks noted in workers: 4, here: 0
"""

import math
from itertools import accumulate

from workpool import Pool, Unsupported

STEP = 20_000

noted: list[int] = []


def count_primes(start: int) -> tuple[int, int]:
    """Count the primes from start up to start + STEP; note it in this interpreter."""
    noted.append(start)
    numbers = range(max(start, 2), start + STEP)
    return sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in numbers), 1


def make_pool() -> Pool:
    """Make a pool of interpreters, or of processes where there are none."""
    try:
        return Pool(backend="interpreter")
    except Unsupported:
        return Pool(backend="process")


def main() -> None:
    with make_pool() as pool:
        counts, notes = zip(*pool.map(count_primes, range(0, 80_000, STEP)), strict=True)
    for n, total in enumerate(accumulate(counts), start=1):
        print(f"primes below {n * STEP:>7,}: {total:,}")
    print(f"tasks noted in workers: {sum(notes)}, here: {len(noted)}")


if __name__ == "__main__":
    main()
