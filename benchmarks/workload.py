"""What a workload is: one thing to do, with one figure that is compared and others that explain it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks import tasks
from benchmarks.accounting import cpu_seconds

if TYPE_CHECKING:
    from benchmarks.libraries.base import Kind, Library

Figures = dict[str, float]


@dataclass(frozen=True)
class Scale:
    """How much of it."""

    workers: int
    quick: bool  # a tenth of the work, for a first look

    def of(self, full: int) -> int:
        """Give a count to that scale."""
        return max(1, full // 10) if self.quick else full


@dataclass(frozen=True)
class Workload:
    """One thing to do."""

    name: str
    title: str
    needs: str  # the call of `Library` that it uses
    figure: str  # the key of the figure that is compared
    unit: str
    more_is_better: bool
    run: Callable[[Library, Scale], Figures]
    also: tuple[str, ...] = ()  # keys of figures that are shown beside it
    kinds: tuple[Kind, ...] = ()  # the kinds of workers it is about, if not all
    timeout: float = 30.0  # seconds that one measurement may take
    leaves: bool = False  # the pool is still at work when the figures are there


def warm_up(library: Library, scale: Scale) -> None:
    """Have every worker started and the function known, as in a program that has run for a while."""
    workers: set[tuple[int, int]] = set()
    until = perf_counter() + 10.0
    apart = library.kind != "thread" and library.role != "limit"
    enough = scale.workers if apart else 1
    while len(workers) < enough and perf_counter() < until:
        workers.update(library.map(tasks.worker_after, [0.01] * (2 * scale.workers)))


def at_rate(
    run: Callable[[int], float], count: int, *, seconds: float = 1.0
) -> tuple[int, float, float]:
    """Do something `count` times, or as often as fits into so many seconds; with a first, smaller try.

    Returns
    -------
    tuple
        How often it was done in the end, the seconds, and the CPU seconds.
    """
    tried = min(count, 500)
    run(tried)
    took = run(tried)
    fits = int(tried * seconds / took) if took > 0 else count
    count = max(tried, min(count, fits))
    cpu_before = cpu_seconds()
    took = run(count)
    return count, took, cpu_seconds() - cpu_before
