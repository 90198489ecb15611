"""How many items are pulled from a generator while nobody fetches results.

What is pulled lies in memory. Of an endless generator, or one that reads a file
larger than memory, a pool should take a bounded number.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up

ITEMS = 100_000


def run(library: Library, scale: Scale) -> Figures:
    """Fetch one result, look away for a moment, and see how far the generator has got."""
    library.open(scale.workers)
    warm_up(library, scale)
    pulled = 0

    def numbers() -> Iterator[int]:
        nonlocal pulled
        for number in range(ITEMS):
            pulled = number + 1
            yield number

    results = library.stream(tasks.next_number, numbers())
    next(results)
    before, until = -1, perf_counter() + 3.0
    while pulled != before and perf_counter() < until:
        before = pulled
        time.sleep(0.2)
    # The pool is not closed: most would run all that they have pulled first.
    return {
        "pulled": float(pulled),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


WORKLOAD = Workload(
    name="streaming",
    title=f"Items pulled from a generator of {ITEMS:,} while nobody consumes",
    needs="stream",
    figure="pulled",
    unit="items",
    more_is_better=False,
    run=run,
    also=("peak_mb",),
    leaves=True,
)
