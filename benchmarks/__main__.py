"""``python -m benchmarks``: measure workpool beside its peers, and print who stands where."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

from benchmarks import report
from benchmarks.catalogue import LIBRARIES, WORKLOADS
from benchmarks.libraries.base import Library
from benchmarks.plot import picture
from benchmarks.rounds import Series, run_rounds
from benchmarks.workload import Scale, Workload


def main() -> int:
    """Measure, print, write."""
    asked = arguments()
    if asked.read:
        text = Path(asked.read).read_text(encoding="utf-8")
        write(report.from_json(text, WORKLOADS, LIBRARIES), asked)
        return 0
    plan = make_plan(asked)
    if asked.list:
        show(plan)
        return 0
    scale = Scale(asked.workers, asked.quick)
    rounds = asked.rounds or (2 if asked.quick else 7)
    budget = asked.budget or (60.0 if asked.quick else 3600.0)
    began = monotonic()

    def say(text: str) -> None:
        print(f"[{monotonic() - began:6.1f} s] {text}", file=sys.stderr, flush=True)

    say(f"{sum(len(libraries) for _, libraries in plan)} measurements a round, {report.machine()}")
    series = run_rounds(plan, scale, rounds=rounds, budget=budget, say=say)
    done = max(len(one.figures) for one in series)
    if asked.json:
        data = report.as_json(series, rounds=done, quick=asked.quick, workers=asked.workers)
        Path(asked.json).write_text(data + "\n", encoding="utf-8")
    write(series, asked)
    return 0


def write(series: list[Series], asked: argparse.Namespace) -> None:
    """Draw, fill in and print what was asked for."""
    compared = report.comparisons(series)
    text = report.tables(compared)
    if asked.plot:
        Path(asked.plot).write_text(picture(compared), encoding="utf-8")
    if asked.page:
        fill_in(Path(asked.page), text)
    print(text)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a tenth of the work, the closest peers; about two minutes",
    )
    parser.add_argument("--rounds", type=int, help="how often everything is measured (7; quick: 2)")
    parser.add_argument(
        "--budget", type=float, help="seconds after which no further round begins (3600; quick: 60)"
    )
    parser.add_argument(
        "--workers", type=int, default=max(2, os.cpu_count() or 2), help="workers in each pool"
    )
    parser.add_argument(
        "-w", "--workload", action="append", default=[], help="only this workload; may be repeated"
    )
    parser.add_argument(
        "-l", "--library", action="append", default=[], help="only libraries whose name holds this"
    )
    parser.add_argument(
        "-k",
        "--kind",
        choices=["thread", "process", "interpreter"],
        help="only threads, only processes, or only interpreters",
    )
    parser.add_argument("--json", help="write every figure to this file")
    parser.add_argument("--read", help="measure nothing; show what an earlier --json wrote")
    parser.add_argument("--plot", help="draw the ratios to this SVG file")
    parser.add_argument("--page", help="write the tables between the marks in this Markdown file")
    parser.add_argument("--list", action="store_true", help="say what would be measured, and stop")
    return parser.parse_args()


def make_plan(asked: argparse.Namespace) -> list[tuple[Workload, list[type[Library]]]]:
    """Choose the workloads, and for each the libraries that offer what it needs."""
    unknown = set(asked.workload) - {workload.name for workload in WORKLOADS}
    if unknown:
        sys.exit(
            f"no such workload: {', '.join(sorted(unknown))}; there are {', '.join(w.name for w in WORKLOADS)}"
        )
    plan = []
    for workload in WORKLOADS:
        if asked.workload and workload.name not in asked.workload:
            continue
        libraries = [
            library
            for library in LIBRARIES
            if library.installed()
            and library.offers(workload.needs)
            and (library.only is None or workload.name in library.only)
            and asked.kind in {None, library.kind}
            and (not workload.kinds or library.kind in workload.kinds)
            and (not asked.library or any(part in library.name for part in asked.library))
        ]
        if workload.needs == "imports":
            # What differs only in how workers start is imported alike.
            libraries = list(
                {(one.kind, one.imports): one for one in reversed(libraries)}.values()
            )[::-1]
        if asked.quick and not asked.library:
            # The closest peers, or all where none of these takes part.
            closest = [library for library in libraries if library.in_quick]
            if any(library.role == "peer" for library in closest):
                libraries = closest
        if libraries:
            plan.append((workload, libraries))
    return plan


def show(plan: list[tuple[Workload, list[type[Library]]]]) -> None:
    """Print what would be measured, and what is not installed."""
    for workload, libraries in plan:
        print(f"{workload.name}: {workload.title}")
        for library in libraries:
            print(f"    {library.kind:12}{library.name}")
    packages = {library.package for library in LIBRARIES if library.package}
    missing = sorted(package for package in packages if find_spec(package) is None)
    if missing:
        print(f"not installed: {', '.join(missing)} (pip install -r benchmarks/requirements.txt)")


def fill_in(page: Path, text: str) -> None:
    """Put the tables where the page has its marks."""
    begin, end = "<!-- tables begin -->", "<!-- tables end -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
