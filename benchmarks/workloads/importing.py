"""How long the import takes that a program begins with, in a Python that has loaded nothing."""

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
    title="Import",
    needs="imports",
    figure="import_ms",
    unit="ms",
    more_is_better=False,
    run=run,
    also=("pool_ms",),
)
