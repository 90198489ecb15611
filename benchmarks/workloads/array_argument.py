"""How fast a large array gets to a task, until the task has looked at every page of it."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up

SIZES = {"mb1": 1 << 20, "mb64": 1 << 26, "mb512": 1 << 29}


def run(library: Library, scale: Scale) -> Figures:
    """Send one array several times, as programs do that have one for each task."""
    library.open(1)
    warm_up(library, scale)
    figures: Figures = {}
    for key, size in SIZES.items():
        if size > 1 << 26 and scale.quick:
            continue
        array: Any = tasks.numbers(size)
        figures[f"{key}_gb_s"] = size / 1e9 / repeat(library, array, size)
    library.close()
    return figures


def repeat(library: Library, array: Any, size: int) -> float:
    """Give the median of the seconds of one trip."""
    times: list[float] = []
    for _ in range(20 if size < 1 << 24 else 4):
        began = perf_counter()
        seen = library.call(tasks.look_at, array)
        times.append(perf_counter() - began)
        if seen != size // tasks.PAGE:
            message = f"{library.name} brought {seen} pages instead of {size // tasks.PAGE}"
            raise AssertionError(message)
    return median(times[1:])  # the first has to make room


WORKLOAD = Workload(
    name="array-argument",
    title="An array of 64 MB as argument",
    needs="call",
    kinds=("process",),
    figure="mb64_gb_s",
    unit="GB/s",
    more_is_better=True,
    run=run,
    also=("mb1_gb_s", "mb512_gb_s"),
    timeout=120.0,
)
