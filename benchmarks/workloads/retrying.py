"""How long it takes until a task is done whose worker was killed the first time it ran."""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter

from benchmarks import tasks
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload, warm_up


def run(library: Library, scale: Scale) -> Figures:
    """Run a task that ends its process, and then succeeds."""
    library.open(scale.workers)
    warm_up(library, scale)
    with tempfile.TemporaryDirectory() as folder:
        began = perf_counter()
        outcome = library.call_again(tasks.die_once, str(Path(folder) / "marker"))
        took = perf_counter() - began
    if outcome != "done":
        message = f"{library.name}: {outcome!r}"
        raise AssertionError(message)
    library.close()
    return {"again_ms": took * 1e3}


WORKLOAD = Workload(
    name="retry",
    title="A killed worker's task run again and done",
    needs="call_again",
    figure="again_ms",
    unit="ms",
    more_is_better=False,
    run=run,
)
