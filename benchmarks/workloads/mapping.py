"""How fast a tiny function is mapped over many items by who changes no setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, at_rate, warm_up

ITEMS = 200_000


def run(library: Library, scale: Scale) -> Figures:
    """Map with the library's own settings."""
    return measure(library, scale, library.map)


def measure(
    library: Library, scale: Scale, mapper: Callable[[Callable[[Any], Any], range], Iterable[Any]]
) -> Figures:
    """Map, and add the results up as they come."""
    library.open(scale.workers)
    if library.role != "limit":
        warm_up(library, scale)

    def some(count: int) -> float:
        began = perf_counter()
        total = sum(mapper(tasks.next_number, range(count)))
        took = perf_counter() - began
        if total != count * (count + 1) // 2:
            message = f"{library.name} lost results: {total}"
            raise AssertionError(message)
        return took

    count, took, cpu = at_rate(some, scale.of(ITEMS))
    library.close()
    return {"per_s": count / took, "cpu_us": cpu / count * 1e6, "count": count}


WORKLOAD = Workload(
    name="map",
    title="Map of a tiny function, default settings",
    needs="map",
    figure="per_s",
    unit="items/s",
    more_is_better=True,
    run=run,
    also=("cpu_us",),
)
