"""How much faster Python code gets with a second worker: one amount of work, by one worker and by two."""

from __future__ import annotations

from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up

TURNS = 200_000  # of a loop in Python, for each task: some 10 ms


def run(library: Library, scale: Scale) -> Figures:
    """Map over equal tasks twice, with one worker and with two."""
    took: list[float] = []
    for workers in (1, 2):
        library.open(workers)
        warm_up(library, Scale(workers, scale.quick))
        began = perf_counter()
        list(library.map(tasks.turn, [TURNS] * scale.of(100)))
        took.append(perf_counter() - began)
        library.close()
    return {"gain": took[0] / took[1], "alone_s": took[0], "two_s": took[1]}


WORKLOAD = Workload(
    name="scaling",
    title="CPU-bound tasks in Python, one worker / two workers",
    needs="map",
    figure="gain",
    unit="x",
    more_is_better=True,
    run=run,
    also=("alone_s", "two_s"),
)
