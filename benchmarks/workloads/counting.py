"""How fast two workers add to one counter at the same time."""

from __future__ import annotations

from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload

WORKERS = 2


def run(library: Library, scale: Scale) -> Figures:
    """Count, contended and by one alone."""
    each = scale.of(200_000)
    library.open(WORKERS)
    together = WORKERS * each / library.count_up(WORKERS, each)
    alone = each / library.count_up(1, each)
    library.close()
    return {"per_s": together, "alone_per_s": alone}


WORKLOAD = Workload(
    name="counter",
    title=f"Counter: increments by {WORKERS} workers at once",
    needs="count_up",
    figure="per_s",
    unit="increments/s",
    more_is_better=True,
    run=run,
    also=("alone_per_s",),
)
