"""How long it takes to start a pool, have one result, and end it.

The first pool of a program, with the library already imported; and the next one,
which finds fork servers and modules in place.
"""

from __future__ import annotations

from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload


def run(library: Library, scale: Scale) -> Figures:
    """Start, call, close; twice."""
    times = []
    for number in range(2):
        began = perf_counter()
        library.open(scale.workers)
        library.call(tasks.next_number, number)
        called = perf_counter()
        library.close()
        times.append((perf_counter() - began, called - began))
    (first, first_result), (second, _) = times
    return {"first_ms": first * 1e3, "result_ms": first_result * 1e3, "again_ms": second * 1e3}


WORKLOAD = Workload(
    name="start",
    title="Start, first result, close",
    needs="call",
    figure="first_ms",
    unit="ms",
    more_is_better=False,
    run=run,
    also=("result_ms", "again_ms"),
)
