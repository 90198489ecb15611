"""What has happened so far, in numbers; the source of ``Pool.stats()``.

Every call is made with the scheduler's lock held, which guards all of it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workpool.task import Task

__all__ = ["Tally"]

_RECENT = 1_024  # tasks whose times are kept for the percentiles


class Tally:
    """Counts since the pool was made, and the times of the latest tasks."""

    __slots__ = ("cancelled", "done", "failed", "lost", "recent", "retried", "written_off")

    def __init__(self) -> None:
        self.done = 0  # settled with a result
        self.failed = 0  # settled with an error
        self.cancelled = 0
        self.retried = 0
        self.lost = 0  # workers that died
        self.written_off = 0  # threads left to themselves after a time limit
        # (queued for, ran for), seconds
        self.recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)

    def ended(self, task: Task[Any], error: BaseException | None) -> None:
        """Count a task that was settled."""
        if error is None:
            self.done += 1
        else:
            self.failed += 1
        started = task._started_at
        if started:
            self.recent.append((started - task._queued_at, task._ended_at - started))

    def items(self, count: int, failed: int, _: float) -> None:
        """Count items of a map call that were settled."""
        self.done += count - failed
        self.failed += failed
