"""How fast a tiny function is mapped by 16 workers, far more than there are cores."""

from __future__ import annotations

from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up

WORKERS = 16


def run(library: Library, scale: Scale) -> Figures:
    """Map with default settings, after all workers have started."""
    began = perf_counter()
    library.open(WORKERS)
    warm_up(library, Scale(WORKERS, scale.quick))
    started = perf_counter() - began
    count = scale.of(200_000)
    tried = count // 20
    began = perf_counter()
    list(library.map(tasks.next_number, range(tried)))
    count = max(tried, min(count, int(tried * 2.0 / (perf_counter() - began))))
    began = perf_counter()
    total = sum(library.map(tasks.next_number, range(count)))
    took = perf_counter() - began
    library.close()
    if total != count * (count + 1) // 2:
        message = f"{library.name} lost items"
        raise AssertionError(message)
    return {"per_s": count / took, "start_ms": started * 1e3}


WORKLOAD = Workload(
    name="many-workers",
    title=f"Map of a tiny function by {WORKERS} workers",
    needs="map",
    figure="per_s",
    unit="items/s",
    more_is_better=True,
    run=run,
    also=("start_ms",),
    timeout=90.0,
)
