"""How fast single tasks go through the queue when each does nothing.

All are submitted one by one, then all results are fetched, as in any program that
keeps a list of futures. What remains is the pool's own cost for one task.
"""

from __future__ import annotations

from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, at_rate, warm_up


def run(library: Library, scale: Scale) -> Figures:
    """Submit no-ops and gather them."""
    library.open(scale.workers)
    if library.role != "limit":
        warm_up(library, scale)
    submitting = 0.0

    def some(count: int) -> float:
        nonlocal submitting
        began = perf_counter()
        handles = library.submit_many(tasks.nothing, count)
        submitting = perf_counter() - began
        library.gather(handles)
        return perf_counter() - began

    count, took, cpu = at_rate(some, scale.of(100_000))
    library.close()
    return {
        "per_s": count / took,
        "cpu_us": cpu / count * 1e6,
        "submit_us": submitting / count * 1e6,
        "count": count,
    }


WORKLOAD = Workload(
    name="submit",
    title="Submit of no-ops",
    needs="submit_many",
    figure="per_s",
    unit="tasks/s",
    more_is_better=True,
    run=run,
    also=("cpu_us", "submit_us"),
)
