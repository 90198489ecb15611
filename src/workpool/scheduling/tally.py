"""What has happened so far, in numbers; the source of ``Pool.stats()``.

Everything of note is told here once, as it happens: who wants to know more than
numbers (``observe/recording.py``) takes the place of this class.

Every call is made with the scheduler's lock held, which guards all of it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workpool.scheduling.mapjob import MapJob
    from workpool.task import Task

__all__ = ["Tally"]

_RECENT = 1_024  # tasks, or chunks of items, whose times are kept for the percentiles


class Tally:
    """Counts since the pool was made, and the times of the latest tasks."""

    __slots__ = (
        "busy",
        "cancelled",
        "done",
        "failed",
        "lost",
        "made_at",
        "recent",
        "retried",
        "written_off",
    )

    def __init__(self) -> None:
        self.made_at = monotonic()
        self.done = 0  # settled with a result
        self.failed = 0  # settled with an error
        self.cancelled = 0
        self.retried = 0
        self.lost = 0  # workers that died
        self.written_off = 0  # threads left to themselves after a time limit
        # Seconds of running that are over, by index of the worker.
        self.busy: defaultdict[int, float] = defaultdict(float)
        # (queued for, ran for, how many such calls), seconds; queued for is negative if not known
        self.recent: deque[tuple[float, float, int]] = deque(maxlen=_RECENT)

    # --------------------------------------------------------------------- a task

    def ended(self, task: Task[Any], error: BaseException | None) -> None:
        """Count a task that was settled."""
        if error is None:
            self.done += 1
        else:
            self.failed += 1
        started, worker = task._started_at, task._worker
        if started and worker is not None:
            ran = task._ended_at - started
            self.recent.append((started - task._queued_at, ran, 1))
            self.busy[worker] += ran

    def again(self, task: Task[Any], error: BaseException) -> None:
        """Count a start of a task that failed and is followed by another."""
        del error
        self.retried += 1
        started, worker = task._started_at, task._worker
        if started and worker is not None:
            self.busy[worker] += max(0.0, (task._ended_at or monotonic()) - started)

    def withdrew(self, task: Task[Any]) -> None:
        """Count a task that was cancelled before it started."""
        del task
        self.cancelled += 1

    def cut(self, task: Task[Any]) -> None:
        """Count a task that was ended as cancelled while it ran."""
        self.cancelled += 1
        started, worker = task._started_at, task._worker
        if started and worker is not None:
            self.busy[worker] += max(0.0, task._ended_at - started)

    # ---------------------------------------------------------- items of a map call

    def items(self, count: int, failed: int) -> None:
        """Count items of a map call that were settled."""
        self.done += count - failed
        self.failed += failed

    def withdrew_items(self, count: int) -> None:
        """Count items of a map call that will never run, or whose outcome nobody will know."""
        self.cancelled += count

    def item_again(self) -> None:
        """Count a start of an item that failed and is followed by another."""
        self.retried += 1

    def ran(
        self,
        worker: int,
        job: MapJob,
        start: int,
        count: int,
        failed: int,
        times: tuple[float, float, float, float],
    ) -> None:
        """Take in when items ran, all of one chunk; ``times`` are moments and seconds.

        They are: when they were queued (0.0 if that is not known), when the first began and
        the last ended, and for how many seconds they ran. Whether they are counted yet is
        another matter: a failed one may run again.
        """
        del job, start, failed
        queued, began, _, seconds = times
        self.busy[worker] += seconds
        if count:
            self.recent.append((began - queued if queued else -1.0, seconds / count, count))

    # ------------------------------------------------------------------- a worker

    def died(self, worker: int, why: str) -> None:
        """Count a worker that died; it was not told to leave."""
        del worker, why
        self.lost += 1

    def wrote_off(self, worker: int) -> None:
        """Count a worker that was left to itself."""
        del worker
        self.written_off += 1
