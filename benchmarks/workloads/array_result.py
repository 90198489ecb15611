"""How fast a large array comes back from a task, until the caller has looked at every page of it."""

from __future__ import annotations

from statistics import median
from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up
from benchmarks.workloads.array_argument import SIZES


def run(library: Library, scale: Scale) -> Figures:
    """Fetch an array that the worker has already made."""
    library.open(1)
    warm_up(library, scale)
    figures: Figures = {}
    for key, size in SIZES.items():
        if size > 1 << 26 and scale.quick:
            continue
        times: list[float] = []
        for _ in range(20 if size < 1 << 24 else 5):
            began = perf_counter()
            seen = tasks.look_at(library.call(tasks.numbers, size))
            times.append(perf_counter() - began)
            if seen != size // tasks.PAGE:
                message = f"{library.name} brought {seen} pages instead of {size // tasks.PAGE}"
                raise AssertionError(message)
        figures[f"{key}_gb_s"] = (
            size / 1e9 / median(times[2:])
        )  # the first ones make array and room
    library.close()
    return figures


WORKLOAD = Workload(
    name="array-result",
    title="An array of 64 MB as result",
    needs="call",
    kinds=("process",),
    figure="mb64_gb_s",
    unit="GB/s",
    more_is_better=True,
    run=run,
    also=("mb1_gb_s", "mb512_gb_s"),
    timeout=120.0,
)
