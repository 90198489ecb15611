"""How near processes come to the number of cores, when each task computes for 20 ms."""

from __future__ import annotations

from time import perf_counter

from benchmarks import tasks
from benchmarks.accounting import cpu_seconds
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up


def run(library: Library, scale: Scale) -> Figures:
    """Map over equal tasks; the ideal is the CPU time they have used, over the workers."""
    library.open(scale.workers)
    warm_up(library, scale)
    before, began = cpu_seconds(), perf_counter()
    used = sum(library.map(tasks.compute_for, [0.02] * scale.of(200)))
    took, cpu = perf_counter() - began, cpu_seconds() - before
    library.close()
    return {"makespan": took * scale.workers / used, "overhead": cpu / used}


WORKLOAD = Workload(
    name="computing",
    title="CPU-bound tasks, makespan / ideal",
    needs="map",
    kinds=("process", "interpreter"),
    figure="makespan",
    unit="x ideal",
    more_is_better=False,
    run=run,
    also=("overhead",),
)
