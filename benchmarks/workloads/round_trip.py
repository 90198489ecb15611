"""How long one small task takes there and back while the pool has nothing else to do."""

from __future__ import annotations

from statistics import quantiles
from time import perf_counter

from benchmarks import tasks
from benchmarks.accounting import cpu_seconds
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up


def run(library: Library, scale: Scale) -> Figures:
    """Submit, wait, and again."""
    library.open(scale.workers)
    if library.role != "limit":
        warm_up(library, scale)
    trip(library, 100)
    # Slow ones (joblib needs 10 ms a trip) make fewer.
    count = min(scale.of(5_000), max(100, int(0.8 / (sum(trip(library, 50)) / 50))))
    cpu_before = cpu_seconds()
    times = trip(library, count)
    cpu = cpu_seconds() - cpu_before
    library.close()
    cuts = quantiles(times, n=100)
    return {
        "p50_us": cuts[49] * 1e6,
        "p99_us": cuts[98] * 1e6,
        "cpu_us": cpu / count * 1e6,
        "count": count,
    }


def trip(library: Library, count: int) -> list[float]:
    """Give the seconds of each of so many trips."""
    call = library.call
    times = []
    for number in range(count):
        began = perf_counter()
        call(tasks.next_number, number)
        times.append(perf_counter() - began)
    return times


WORKLOAD = Workload(
    name="round-trip",
    title="Round trip on an idle pool",
    needs="call",
    figure="p50_us",
    unit="µs, p50",
    more_is_better=False,
    run=run,
    also=("p99_us", "cpu_us"),
)
