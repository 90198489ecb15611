"""How fast tasks go through one pool when eight threads submit at the same time."""

from __future__ import annotations

import threading
from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up

THREADS = 8


def run(library: Library, scale: Scale) -> Figures:
    """Have each thread submit its share and gather it."""
    library.open(scale.workers)
    warm_up(library, scale)
    each = scale.of(4_000)
    gate = threading.Barrier(THREADS + 1)

    def some() -> None:
        gate.wait()
        library.gather(library.submit_many(tasks.nothing, each))

    threads = [threading.Thread(target=some) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    gate.wait()
    began = perf_counter()
    for thread in threads:
        thread.join()
    took = perf_counter() - began
    library.close()
    return {"per_s": THREADS * each / took}


WORKLOAD = Workload(
    name="submitters",
    title=f"Submit of no-ops by {THREADS} threads at once",
    needs="submit_many",
    figure="per_s",
    unit="tasks/s",
    more_is_better=True,
    run=run,
)
