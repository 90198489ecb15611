"""A snapshot of what a pool has done and is doing, in numbers."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from workpool.scheduling.scheduler import Scheduler

__all__ = ["Stats", "snapshot"]


@attrs.frozen(kw_only=True)
class Stats:
    """Counts since the pool was made; an item of a map call counts as a task.

    Attributes
    ----------
    queued, running : int, tasks
        Submitted and not started; with a worker now.
    done, failed, cancelled : int, tasks
        Settled with a result, an error, or neither.
    retried : int
        Starts of tasks that failed and were followed by another.
    lost : int, workers
        Worker processes that died.
    written_off : int, workers
        Threads left to themselves, after a time limit or a kill.
    workers, max_workers : int, workers
        Alive now; at most.
    busy : dict of int to float, seconds
        How long each worker has run tasks, by its index; a replacement goes on
        counting. What runs now is counted when it is over.
    uptime : float, seconds
        Since the pool was made.
    queue_wait, run_time : dict of int to float, seconds
        Percentiles 50, 90 and 99 of the latest tasks; empty before the first. Items
        that ran as one chunk count with their mean.
    """

    queued: int
    running: int
    done: int
    failed: int
    cancelled: int
    retried: int
    lost: int
    written_off: int
    workers: int
    max_workers: int
    busy: dict[int, float]
    uptime: float
    queue_wait: dict[int, float]
    run_time: dict[int, float]


def snapshot(scheduler: Scheduler) -> Stats:
    """Read the numbers of a scheduler, all at one moment."""
    with scheduler.lock:
        tally = scheduler.tally
        unfinished = scheduler.ledger.unfinished
        queued = scheduler.queue.waiting + sum(
            getattr(entry, "undrawn", 0) for entry in (*scheduler.queue, *scheduler._delayed)
        )
        recent = list(tally.recent)
        counts = {
            "queued": queued,
            "running": max(0, unfinished - queued),
            "done": tally.done,
            "failed": tally.failed,
            "cancelled": tally.cancelled,
            "retried": tally.retried,
            "lost": tally.lost,
            "written_off": tally.written_off,
            "workers": len(scheduler.workers),
            "max_workers": scheduler.max_workers,
        }
        busy = dict(sorted(tally.busy.items()))
    return Stats(
        **counts,
        busy=busy,
        uptime=monotonic() - tally.made_at,
        queue_wait=_percentiles([(waited, n) for waited, _, n in recent if waited >= 0]),
        run_time=_percentiles([(ran, n) for _, ran, n in recent]),
    )


def _percentiles(values: list[tuple[float, int]]) -> dict[int, float]:
    """Give percentiles of values, each of which stands for so many."""
    found: dict[int, float] = {}
    values.sort()
    total = sum(count for _, count in values)
    seen = 0
    wanted = [50, 90, 99]
    for value, count in values:
        seen += count
        while wanted and seen * 100 >= wanted[0] * total:
            found[wanted.pop(0)] = value
    return found
