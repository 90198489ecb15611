"""What one more task costs when very many are queued already: it must not depend on how many."""

from __future__ import annotations

import resource
import sys
from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up


def run(library: Library, scale: Scale) -> Figures:
    """Queue a thousand, and then very many; the cost of each, and the memory of one that is queued."""
    library.open(scale.workers)
    warm_up(library, scale)
    few, _ = cost(library, 1_000)
    many, grown = cost(library, scale.of(1_000_000))
    library.close()
    return {"us": many, "us_among_1000": few, "bytes": grown}


def cost(library: Library, count: int) -> tuple[float, float]:
    """Give microseconds from submit to result, and bytes of memory, for each of so many tasks."""
    before = peak()
    began = perf_counter()
    library.gather(library.submit_many(tasks.nothing, count))
    took = perf_counter() - began
    return took / count * 1e6, (peak() - before) / count


def peak() -> float:
    """Give the most memory this process has had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


WORKLOAD = Workload(
    name="deep-queue",
    title="A million tasks queued at once, each",
    needs="submit_many",
    figure="us",
    unit="µs",
    more_is_better=False,
    run=run,
    also=("us_among_1000", "bytes"),
    timeout=120.0,
)
