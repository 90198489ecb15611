"""How long it takes to import a pool, in a Python that has loaded nothing.

What is compared is the import that gives the pool (``from workpool import Pool``).
``import workpool`` alone loads nearly nothing, since its names are loaded when they
are used; a program that makes a pool does not get away with that.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload

CODE = """\
from time import perf_counter
began = perf_counter()
{statement}
print(perf_counter() - began)
"""


def run(library: Library, scale: Scale) -> Figures:
    """Import in fresh processes."""
    repeats = 3 if scale.quick else 5
    figures = {"import_ms": seconds_of(library.imports, repeats) * 1e3}
    figures["pool_ms"] = seconds_of(library.first_use or library.imports, repeats) * 1e3
    return figures


def seconds_of(statement: str, repeats: int) -> float:
    """Give the median of the seconds that a statement takes."""
    command = [sys.executable, "-c", CODE.format(statement=statement)]
    return median(
        float(subprocess.run(command, check=True, capture_output=True).stdout)
        for _ in range(repeats)
    )


WORKLOAD = Workload(
    name="import",
    title="Import of a pool",
    needs="imports",
    figure="pool_ms",
    unit="ms",
    more_is_better=False,
    run=run,
    also=("import_ms",),
)
