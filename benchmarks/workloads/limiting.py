"""How long after its time limit a caller knows that a task was ended."""

from __future__ import annotations

from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up

LIMIT = 0.5


def run(library: Library, scale: Scale) -> Figures:
    """Run a task of ten seconds with a limit of half a second; then one that is quick."""
    library.open(scale.workers)
    warm_up(library, scale)
    began = perf_counter()
    library.call_limited(tasks.sleep_for, 10.0, limit=LIMIT)
    took = perf_counter() - began
    library.call(tasks.nothing)
    return {"known_ms": took * 1e3, "late_ms": (took - LIMIT) * 1e3}


WORKLOAD = Workload(
    name="time-limit",
    title="Time limit of 0.5 s: until the caller knows",
    needs="call_limited",
    figure="known_ms",
    unit="ms",
    more_is_better=False,
    run=run,
    also=("late_ms",),
)
