"""Processes for CPU work: each has an interpreter, and so a GIL, of its own.

Counting primes keeps a core busy and never waits. Threads would take turns at
one interpreter (unless Python is built free-threaded); processes use all cores.

Prints::

    primes below  20,000: 2,262
    primes below  40,000: 4,203
    primes below  60,000: 6,057
    primes below  80,000: 7,837
    primes below 100,000: 9,592
    any of it counted in this process: False
"""

import math
import os
from itertools import accumulate

from workpool import Pool

STEP = 20_000


def count_primes(start: int) -> tuple[int, int]:
    """Count the primes from start up to start + STEP; say which process did it."""
    numbers = range(max(start, 2), start + STEP)
    primes = sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in numbers)
    return primes, os.getpid()


def main() -> None:
    with Pool(backend="process") as pool:  # as many as the CPUs this program may use
        counts, processes = zip(*pool.map(count_primes, range(0, 100_000, STEP)), strict=True)
    for n, total in enumerate(accumulate(counts), start=1):
        print(f"primes below {n * STEP:>7,}: {total:,}")
    print("any of it counted in this process:", os.getpid() in processes)


if __name__ == "__main__":
    main()
