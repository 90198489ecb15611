"""How fast items go from a producer to a consumer that marks each done, up to the join."""

from __future__ import annotations

from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, at_rate


def run(library: Library, scale: Scale) -> Figures:
    """Put, get, task_done, join."""
    library.open(scale.workers)
    count, took, _ = at_rate(library.pass_items, scale.of(100_000))
    library.close()
    return {"per_s": count / took, "count": count}


WORKLOAD = Workload(
    name="queue",
    title="Queue: put, get, task_done, join",
    needs="pass_items",
    figure="per_s",
    unit="items/s",
    more_is_better=True,
    run=run,
)
