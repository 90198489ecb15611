"""Whether short tasks wait behind a long one that came before them.

One task takes as long as all the others together on the other workers. A pool
that hands it out together with short ones, or sizes its chunks by it, pays.
"""

from __future__ import annotations

from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload
from benchmarks.workloads.uneven import measure


def run(library: Library, scale: Scale) -> Figures:
    """Map over one long duration and many short ones."""
    short, count = 0.002, 250 if scale.quick else 500
    long = short * count / max(1, scale.workers - 1)
    return measure(library, scale, [long, *[short] * count])


WORKLOAD = Workload(
    name="long-first",
    title="A long task before many short ones, makespan / ideal",
    needs="map",
    figure="makespan",
    unit="x ideal",
    more_is_better=False,
    run=run,
    also=("lost_ms",),
)
