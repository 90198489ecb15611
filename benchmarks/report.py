"""Shows what was measured: tables in Markdown, which read well in a terminal too, and JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from benchmarks.comparison import Comparison, compare, ratio
from benchmarks.libraries.base import Library
from benchmarks.rounds import Series, by_workload
from benchmarks.workload import Workload

DISTRIBUTIONS = {"deadpool": "deadpool-executor"}  # whose name on PyPI is another than in an import


def comparisons(series: list[Series]) -> list[Comparison]:
    """Compare everything that can be."""
    return [compare(group) for group in by_workload(series).values()]


def tables(compared: list[Comparison]) -> str:
    """Give the summary and a table for each workload, as Markdown."""
    parts = ["## Summary\n", *summary(compared), ""]
    for comparison in compared:
        workload, kind = comparison.rows[0].series.workload, comparison.rows[0].series.library.kind
        workers = {"thread": "threads", "process": "processes", "interpreter": "interpreters"}[kind]
        parts += [f"## {workload.title}: {workers}\n", *details(comparison), ""]
    return "\n".join(parts)


def summary(compared: Iterable[Comparison]) -> Iterator[str]:
    """Give one line for each workload: workpool, the best peer, and the limit."""
    head = [
        "workload",
        "workers",
        "workpool",
        "best peer",
        "",
        "times as good",
        "best peer that is no fork",
        "CPU, times as little",
        "share of the limit",
    ]
    rows = []
    for comparison in compared:
        ours = comparison.ours
        if ours is None:
            continue
        best, safe = comparison.best, comparison.best_safe
        there = {id(row.series): row for row in comparison.rows}
        workload = ours.series.workload
        rows.append(
            [
                workload.title,
                ours.series.library.kind,
                f"{number(ours.middle)} {workload.unit}",
                number(there[id(best)].middle) if best else "-",
                best.library.name if best else "-",
                times(ours.to_best),
                times(ratio(ours.series, safe)) if safe is not None and safe is not best else "",
                times(cpu_ratio(ours.series, best)),
                share(ours.to_limit),
            ]
        )
    return table(head, rows)


def cpu_ratio(ours: Series, other: Series | None) -> float | None:
    """Give how many times less CPU a task costs than with another, where that was measured."""
    if other is None or "cpu_us" not in ours.workload.also:
        return None
    pairs = [
        (mine["cpu_us"], theirs["cpu_us"])
        for mine, theirs in zip(ours.figures, other.figures, strict=False)
        if mine is not None and theirs is not None
    ]
    return median(theirs / mine for mine, theirs in pairs if mine) if pairs else None


def middle(values: list[float]) -> str:
    """Write a median; nothing where the figure was not taken."""
    return number(median(values)) if values else ""


def details(comparison: Comparison) -> Iterator[str]:
    """Give one line for each library."""
    workload = comparison.rows[0].series.workload
    head = [
        "library",
        workload.unit,
        "least - most",
        *map(heading, workload.also),
        "to best peer",
        "to limit",
    ]
    rows = []
    for row in comparison.rows:
        name = row.series.library.name
        if row.series.library.role == "ours":
            name = f"**{name}**"
        elif row.series.library.role == "limit":
            name = f"*{name}*"
        if row.middle is None:
            rows.append([name, row.series.failures[0], *[""] * (len(head) - 2)])
            continue
        also = [middle(row.series.of(key)) for key in workload.also]
        spread = f"{number(row.least)} - {number(row.most)}"
        rows.append(
            [name, number(row.middle), spread, *also, times(row.to_best), share(row.to_limit)]
        )
    return table(head, rows)


def table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Lay out a Markdown table so that its source is one too."""
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    yield (
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(head, widths, strict=True))
        + " |"
    )
    yield "|-" + "-|-".join("-" * width for width in widths) + "-|"
    for line in rows:
        yield (
            "| "
            + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            + " |"
        )


def number(value: float | None) -> str:
    """Show three digits."""
    if value is None:
        return "-"
    if value >= 1e6:
        return f"{value / 1e6:.3g}M"
    if value >= 1e4:
        return f"{value / 1e3:.3g}k"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def times(value: float | None) -> str:
    """Show how many times as good."""
    if value is None:
        return ""
    return f"{value:.2f}x" if value >= 0.095 else f"{value:.1g}x"


def share(value: float | None) -> str:
    """Show the share of what is possible."""
    return "" if value is None else f"{value * 100:.2g} %" if value < 1 else f"{value * 100:.0f} %"


def heading(key: str) -> str:
    """Name a figure's column."""
    what, _, unit = key.rpartition("_")
    return {"us": f"{what} µs", "ms": f"{what} ms", "mb": f"{what} MB", "s": f"{what}/s"}.get(
        unit, key
    ).replace("_per/s", "/s")


def machine() -> dict[str, Any]:
    """Describe the machine in general words."""
    affinity = getattr(os, "sched_getaffinity", None)
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return {
        "python": platform.python_version() + ("" if gil else ", free-threaded"),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
    }


def versions(series: list[Series]) -> dict[str, str]:
    """Give the version of each library that was measured."""
    found = {}
    for package in sorted({one.library.package for one in series} - {""}):
        try:
            found[package] = version(DISTRIBUTIONS.get(package, package))
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def as_json(series: list[Series], *, rounds: int, quick: bool, workers: int) -> str:
    """Give everything that was measured, round by round."""
    measured = [
        {
            "workload": one.workload.name,
            "library": one.library.name,
            "workers": one.library.kind,
            "role": one.library.role,
            "start_method": one.library.start_method,
            "figure": one.workload.figure,
            "unit": one.workload.unit,
            "more_is_better": one.workload.more_is_better,
            "rounds": one.figures,
            "failures": one.failures,
        }
        for one in series
    ]
    about: dict[str, Any] = {"machine": machine(), "versions": versions(series)}
    about |= {"rounds": rounds, "quick": quick, "workers": workers}
    return json.dumps({**about, "measured": measured}, indent=1)


def from_json(text: str, workloads: list[Workload], libraries: list[type[Library]]) -> list[Series]:
    """Take back what `as_json` gave; what has been renamed since is left out."""
    known_workloads = {workload.name: workload for workload in workloads}
    known_libraries = {(library.name, library.kind): library for library in libraries}
    series = []
    for one in json.loads(text)["measured"]:
        workload = known_workloads.get(one["workload"])
        library = known_libraries.get((one["library"], one["workers"]))
        if workload is not None and library is not None:
            series.append(Series(workload, library, one["rounds"], one["failures"]))
    return series
