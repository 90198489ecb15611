"""A snapshot of what a pool has done and is doing, in numbers."""

from __future__ import annotations

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
        Starts beyond the first of a task.
    lost : int, workers
        Worker processes that died.
    written_off : int, workers
        Threads left to themselves, after a time limit or a kill.
    workers : int
        Workers alive now.
    queue_wait, run_time : dict of int to float, seconds
        Percentiles 50, 90 and 99 of the latest tasks; empty before the first.
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
    queue_wait: dict[int, float]
    run_time: dict[int, float]


def snapshot(scheduler: Scheduler) -> Stats:
    """Read the numbers of a scheduler, all at one moment."""
    with scheduler.lock:
        tally = scheduler.tally
        unfinished = scheduler.ledger.unfinished
        queued = scheduler.queue.waiting + sum(
            getattr(entry, "undrawn", 0) for entry in scheduler.queue
        )
        recent = list(tally.recent)
        return Stats(
            queued=queued,
            running=max(0, unfinished - queued),
            done=tally.done,
            failed=tally.failed,
            cancelled=tally.cancelled,
            retried=tally.retried,
            lost=tally.lost,
            written_off=tally.written_off,
            workers=len(scheduler.workers),
            queue_wait=_percentiles([waited for waited, _ in recent]),
            run_time=_percentiles([ran for _, ran in recent]),
        )


def _percentiles(values: list[float]) -> dict[int, float]:
    if not values:
        return {}
    values.sort()
    last = len(values) - 1
    return {percent: values[min(last, percent * len(values) // 100)] for percent in (50, 90, 99)}
