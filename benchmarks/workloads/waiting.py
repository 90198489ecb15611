"""How well 32 threads wait at the same time: tasks that sleep as a request over the network does."""

from __future__ import annotations

from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up

THREADS = 32


def run(library: Library, scale: Scale) -> Figures:
    """Map over equal waits; each says how long it took in truth."""
    library.open(THREADS)
    warm_up(library, scale)
    began = perf_counter()
    slept = list(library.map(tasks.sleep_for, [0.02] * (THREADS * scale.of(40))))
    took = perf_counter() - began
    library.close()
    return {"makespan": took * THREADS / sum(slept)}


WORKLOAD = Workload(
    name="waiting",
    title=f"{THREADS} threads that wait, makespan / ideal",
    needs="map",
    kinds=("thread",),
    figure="makespan",
    unit="x ideal",
    more_is_better=False,
    run=run,
)
