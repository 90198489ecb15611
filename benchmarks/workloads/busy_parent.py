"""How well workers are kept busy while the thread that submitted computes in Python.

The threads that feed the workers then have to share the interpreter with it.
"""

from __future__ import annotations

from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up

PAUSE = 0.002


def run(library: Library, scale: Scale) -> Figures:
    """Submit short waits, compute until they could all be done, and see how many are not."""
    library.open(scale.workers)
    warm_up(library, scale)
    count = scale.of(1_000)
    handles = library.submit_many(tasks.pause, count)
    began = perf_counter()
    ideal = count * PAUSE / scale.workers
    tasks.compute_for(ideal)
    slept = library.gather(handles)
    took = perf_counter() - began
    library.close()
    return {"makespan": took * scale.workers / sum(slept)}


WORKLOAD = Workload(
    name="busy-parent",
    title="Tasks of 2 ms while the parent computes, makespan / ideal",
    needs="submit_many",
    figure="makespan",
    unit="x ideal",
    more_is_better=False,
    run=run,
)
