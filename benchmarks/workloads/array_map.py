"""How fast a list of arrays is mapped, each to another array of its size; and one array that all tasks get."""

from __future__ import annotations

from functools import partial
from statistics import median
from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up

COUNT, SIZE = 64, 1 << 20
COMMON = 1 << 25


def run(library: Library, scale: Scale) -> Figures:
    """Map 64 arrays of 1 MB; then have 16 tasks look at the same 32 MB."""
    library.open(scale.workers)
    warm_up(library, scale)
    arrays = [tasks.numbers(SIZE) + n for n in range(COUNT)]
    both, common = [], []
    for _ in range(3):
        began = perf_counter()
        for number, array in enumerate(library.map(tasks.negative, arrays)):
            if array[0] != -arrays[number][0]:
                message = f"{library.name} mapped array {number} wrongly"
                raise AssertionError(message)
        both.append(perf_counter() - began)
    look = partial(tasks.look_at_both, tasks.numbers(COMMON))
    for _ in range(2):
        began = perf_counter()
        list(library.map(look, range(16)))
        common.append(perf_counter() - began)
    library.close()
    return {
        "gb_s": 2 * COUNT * SIZE / 1e9 / median(both),
        "common_gb_s": 16 * COMMON / 1e9 / min(common),
    }


WORKLOAD = Workload(
    name="array-map",
    title="A list of 1 MB arrays, mapped to others",
    needs="map",
    kinds=("process",),
    figure="gb_s",
    unit="GB/s, there and back",
    more_is_better=True,
    run=run,
    also=("common_gb_s",),
    timeout=120.0,
)
