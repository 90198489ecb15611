"""Runs measurements: each in a fresh process, round by round, so that all share good and bad moments.

In each round every library does a workload right after the others, in an order that
changes from round to round. What is compared are figures of the same round: a
machine that is busy with something else for a while is then busy for all of them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from compileall import compile_dir
from dataclasses import dataclass, field
from importlib.util import find_spec
from time import monotonic

from benchmarks.apart import ROOT, run_apart
from benchmarks.libraries.base import Library
from benchmarks.workload import Figures, Scale, Workload


@dataclass
class Series:
    """What came of one library with one workload, round by round; None where it failed."""

    workload: Workload
    library: type[Library]
    figures: list[Figures | None] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def of(self, key: str) -> list[float]:
        """Give one figure of the rounds that succeeded."""
        return [figures[key] for figures in self.figures if figures is not None and key in figures]


def run_rounds(
    plan: list[tuple[Workload, list[type[Library]]]],
    scale: Scale,
    *,
    rounds: int,
    budget: float,
    say: Callable[[str], object],
) -> list[Series]:
    """Measure the plan so many times, or until the seconds are used up; the first round is always whole."""
    series = {
        (workload.name, library): Series(workload, library)
        for workload, libraries in plan
        for library in libraries
    }
    compile_ours()
    until = monotonic() + budget
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for workload, libraries in plan:
            if number and monotonic() > until:
                say("the time is used up")
                return list(series.values())
            for library in rotated(libraries, number):
                one = series[workload.name, library]
                if len(one.failures) >= 2:
                    one.figures.append(None)
                    continue
                figures, failure = measure(workload, library, scale)
                one.figures.append(figures)
                if failure:
                    one.failures.append(failure)
                    say(f"  {workload.name}: {library.name} failed: {failure}")
    return list(series.values())


def rotated(libraries: list[type[Library]], number: int) -> Iterator[type[Library]]:
    """Begin with another one in each round, and go backwards in every second."""
    at = number // 2 % len(libraries)
    order = libraries[at:] + libraries[:at]
    return iter(order if number % 2 == 0 else order[::-1])


def measure(workload: Workload, library: type[Library], scale: Scale) -> tuple[Figures | None, str]:
    """Measure once, in a process and session of its own; give figures, or what went wrong."""
    ended = run_apart(
        "-m",
        "benchmarks.measure",
        workload.run.__module__,
        library.__module__,
        library.__name__,
        str(scale.workers),
        "quick" if scale.quick else "full",
        seconds=workload.timeout,
    )
    if ended.code is None:
        return None, f"no end after {workload.timeout:.0f} s"
    lines = [line for line in ended.out.splitlines() if line.startswith("{")]
    if ended.code or not lines:
        said = [line for line in ended.errors.splitlines() if line[:1].isalpha()]  # no frames
        return None, f"exit code {ended.code}: {said[-1][:100] if said else 'no output'}"
    figures: Figures = json.loads(lines[-1])
    return figures, ""


def compile_ours() -> None:
    """Compile workpool, and this, as an installer has compiled the peers.

    A checkout has no bytecode. Where none is written, each start of a process would compile
    workpool anew, and import and start would look twice as slow as they are.
    """
    spec = find_spec("workpool")
    for folder in [*(spec.submodule_search_locations or [] if spec else []), ROOT / "benchmarks"]:
        compile_dir(folder, quiet=2)


def by_workload(series: list[Series]) -> dict[tuple[str, str], list[Series]]:
    """Put together what is compared: the same workload, threads with threads, processes with processes."""
    groups: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for one in series:
        groups[one.workload.name, one.library.kind].append(one)
    return groups
