"""What monitoring is told of a pool: one table for Prometheus, OpenTelemetry and whatever comes.

Everything is read off ``Pool.stats()`` when somebody looks, so nothing is measured twice
and a pool that nobody looks at pays nothing.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from workpool._compat import Lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from workpool.observe.stats import Stats

__all__ = ["MEASURES", "Measure", "Watched"]

Sample = tuple[float, dict[str, str]]  # a value, and what tells it from others of its measure


class Measure(NamedTuple):
    """One thing that is measured, of every pool."""

    name: str
    kind: Literal["counter", "gauge"]
    unit: str  # as OpenTelemetry writes it (UCUM)
    help: str
    read: Callable[[Stats], Iterable[Sample]]


def _outcomes(stats: Stats) -> Iterator[Sample]:
    for outcome in ("done", "failed", "cancelled"):
        yield getattr(stats, outcome), {"outcome": outcome}


def _busy(stats: Stats) -> Iterator[Sample]:
    for worker, seconds in stats.busy.items():
        yield seconds, {"worker": str(worker)}


def _one(field: str) -> Callable[[Stats], Iterable[Sample]]:
    return lambda stats: [(getattr(stats, field), {})]


def _quantiles(field: str) -> Callable[[Stats], Iterable[Sample]]:
    return lambda stats: [
        (seconds, {"quantile": str(percent / 100)})
        for percent, seconds in getattr(stats, field).items()
    ]


MEASURES = (
    Measure("tasks", "counter", "{task}", "Tasks and items settled, by outcome.", _outcomes),
    Measure("retries", "counter", "{attempt}", "Attempts that failed and were followed by another.",
            _one("retried")),
    Measure("workers_lost", "counter", "{worker}", "Worker processes that died.", _one("lost")),
    Measure("threads_written_off", "counter", "{thread}", "Threads left to themselves.",
            _one("written_off")),
    Measure("worker_busy", "counter", "s", "Time that each worker spent running tasks.", _busy),
    Measure("queued", "gauge", "{task}", "Tasks and items submitted and not started.",
            _one("queued")),
    Measure("running", "gauge", "{task}", "Tasks and items with a worker now.", _one("running")),
    Measure("workers", "gauge", "{worker}", "Workers alive.", _one("workers")),
    Measure("workers_limit", "gauge", "{worker}", "Workers there may be.", _one("max_workers")),
    Measure("queue_wait", "gauge", "s", "Percentiles of how long the latest tasks waited.",
            _quantiles("queue_wait")),
    Measure("run_time", "gauge", "s", "Percentiles of how long the latest tasks ran.",
            _quantiles("run_time")),
)  # fmt: skip


class Watched:
    """Pools that somebody looks at; to be watched keeps none of them open."""

    def __init__(self, pools: Iterable[Any]) -> None:
        self._lock = Lock()  # guards _pools
        self._pools: list[weakref.ref[Any]] = []
        for pool in pools:
            self.add(pool)

    def add(self, pool: Any) -> None:
        """Look at one pool more."""
        with self._lock:
            self._pools = [ref for ref in self._pools if ref() not in (None, pool)]
            self._pools.append(weakref.ref(pool))

    def stats(self) -> list[tuple[str, Stats]]:
        """Take a snapshot of each pool that is there, with its name."""
        with self._lock:
            pools = [ref() for ref in self._pools]
        return [(pool.name, pool.stats()) for pool in pools if pool is not None]
