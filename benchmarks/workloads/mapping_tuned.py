"""How fast a tiny function is mapped over many items in chunks that somebody has thought about."""

from __future__ import annotations

from functools import partial

from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload
from benchmarks.workloads.mapping import measure

CHUNK = 2_000


def run(library: Library, scale: Scale) -> Figures:
    """Map in chunks."""
    return measure(library, scale, partial(library.map_tuned, chunk=CHUNK))


WORKLOAD = Workload(
    name="map-tuned",
    title=f"Map of a tiny function, in chunks of {CHUNK:,}",
    needs="map_tuned",
    figure="per_s",
    unit="items/s",
    more_is_better=True,
    run=run,
    also=("cpu_us",),
)
