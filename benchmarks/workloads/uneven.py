"""How well tasks of very different length are spread over the workers.

Durations are log-normal: most are short, a few take twenty times as long. Tasks
sleep, so that it is the pool's choices that are measured and not the cores; each
says how long it slept in truth, and their sum is what the ideal is made of.
"""

from __future__ import annotations

import random
from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up


def run(library: Library, scale: Scale) -> Figures:
    """Map over log-normal durations."""
    draw = random.Random(7)  # the same for all
    seconds = [min(0.1, draw.lognormvariate(-6.2, 1.2)) for _ in range(100 if scale.quick else 500)]
    return measure(library, scale, seconds)


def measure(library: Library, scale: Scale, seconds: list[float]) -> Figures:
    """Map over durations; give the makespan as a multiple of the ideal."""
    library.open(scale.workers)
    warm_up(library, scale)
    began = perf_counter()
    slept = list(library.map(tasks.sleep_for, seconds))
    took = perf_counter() - began
    library.close()
    ideal = max(sum(slept) / scale.workers, max(slept))
    return {"makespan": took / ideal, "lost_ms": (took - ideal) * 1e3, "ideal_s": ideal}


WORKLOAD = Workload(
    name="uneven",
    title="Uneven tasks (log-normal), makespan / ideal",
    needs="map",
    figure="makespan",
    unit="x ideal",
    more_is_better=False,
    run=run,
    also=("lost_ms",),
)
