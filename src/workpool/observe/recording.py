"""Remembering when everything ran: what ``Pool(record=True)`` keeps for ``Pool.timeline``.

The recorder takes the place of the pool's tally, so a pool that does not record pays
nothing, not even a test. What is kept is bounded: the latest slices, each a task, or
items of a map call that ran as one chunk. About 300 bytes each.

Calls of the recorder are made with the scheduler's lock held, which guards all of it.
"""

from __future__ import annotations

import time
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from workpool.naming import function_name
from workpool.observe.stats import Stats, snapshot
from workpool.scheduling.tally import Tally
from workpool.task import PENDING, Task

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workpool.scheduling.mapjob import MapJob
    from workpool.scheduling.scheduler import Scheduler

__all__ = ["DEFAULT_SLICES", "Happening", "Recorder", "Recording", "Slice", "Wait", "depth", "read"]

DEFAULT_SLICES = 100_000


class Slice(NamedTuple):
    """One stretch of one worker's time: a task's attempt, or items that ran as one chunk.

    Moments are monotonic seconds.
    """

    worker: int
    queued: float  # 0.0: not known, or not for the first time
    began: float
    ended: float
    name: str
    number: int  # id of the task, position of the first item
    items: int  # 0 for a task
    failed: int  # of them; or 1 for a task
    attempt: int  # 0 for items
    outcome: str  # "done", "failed", "retried" or "cancelled"
    error: str  # its type


class Wait(NamedTuple):
    """So many calls that were queued and did not start."""

    since: float
    until: float | None  # cancelled then; None: they still wait
    calls: int


class Happening(NamedTuple):
    """Something that befell a worker."""

    at: float
    worker: int
    what: str


class Recorder(Tally):
    """A tally that also remembers."""

    __slots__ = ("happenings", "seen", "slices", "waits")

    def __init__(self, most: int) -> None:
        super().__init__()
        self.seen = 0  # slices, those that had to make room included
        self.slices: deque[Slice] = deque(maxlen=most)
        self.waits: deque[Wait] = deque(maxlen=most)
        self.happenings: deque[Happening] = deque(maxlen=most)

    def ended(self, task: Task[Any], error: BaseException | None) -> None:
        """Remember a task that was settled."""
        super().ended(task, error)
        self._attempt(task, "done" if error is None else "failed", error)

    def again(self, task: Task[Any], error: BaseException) -> None:
        """Remember an attempt that is followed by another."""
        super().again(task, error)
        self._attempt(task, "retried", error)

    def cut(self, task: Task[Any]) -> None:
        """Remember a task that was ended as cancelled while it ran."""
        super().cut(task)
        self._attempt(task, "cancelled", None)

    def withdrew(self, task: Task[Any]) -> None:
        """Remember how long a task had waited that was cancelled."""
        super().withdrew(task)
        self.waits.append(Wait(task._queued_at, monotonic(), 1))

    def ran(
        self,
        worker: int,
        job: MapJob,
        start: int,
        count: int,
        failed: int,
        times: tuple[float, float, float, float],
    ) -> None:
        """Remember items that ran, as one slice."""
        super().ran(worker, job, start, count, failed, times)
        queued, began, ended, _ = times
        name = job.terms.name or function_name(job.fn)
        outcome = "failed" if failed else "done"
        self._keep(Slice(worker, queued, began, ended, name, start, count, failed, 0, outcome, ""))

    def died(self, worker: int, why: str) -> None:
        """Remember that a worker died."""
        super().died(worker, why)
        self.happenings.append(Happening(monotonic(), worker, f"died of {why}"))

    def wrote_off(self, worker: int) -> None:
        """Remember that a worker was left to itself."""
        super().wrote_off(worker)
        self.happenings.append(Happening(monotonic(), worker, "written off"))

    def _attempt(self, task: Task[Any], outcome: str, error: BaseException | None) -> None:
        worker, began = task._worker, task._started_at
        if worker is None or not began:
            return  # it never started
        attempt = task._attempts
        self._keep(
            Slice(
                worker,
                task._queued_at if attempt <= 1 else 0.0,
                began,
                max(began, task._ended_at or monotonic()),
                task._name,
                task.id,
                0,
                0 if error is None else 1,
                attempt,
                outcome,
                "" if error is None else type(error).__name__,
            )
        )

    def _keep(self, one: Slice) -> None:
        self.seen += 1
        self.slices.append(one)


@attrs.frozen(kw_only=True)
class Recording:
    """What a recorder remembers, at one moment."""

    pool: str
    backend: str
    began_at: float  # seconds since the epoch
    zero: float  # the same moment, monotonic
    until: float  # now, monotonic
    slices: list[Slice]  # by their beginning
    waits: list[Wait]
    happenings: list[Happening]
    left_out: int  # slices, the oldest ones, that had to make room
    stats: Stats


def read(scheduler: Scheduler, recorder: Recorder, *, backend: str) -> Recording:
    """Take a picture of what a pool's recorder remembers."""
    with scheduler.lock:
        slices = list(recorder.slices)
        waits = list(recorder.waits)
        happenings = list(recorder.happenings)
        left_out = recorder.seen - len(slices)
        waits += _still_waiting(scheduler.queue)
    now = monotonic()
    return Recording(
        pool=scheduler.name,
        backend=backend,
        began_at=time.time() - (now - recorder.made_at),
        zero=recorder.made_at,
        until=now,
        slices=sorted(slices, key=lambda one: (one.began, -one.ended)),
        waits=waits,
        happenings=happenings,
        left_out=left_out,
        stats=snapshot(scheduler),
    )


def _still_waiting(queue: Iterable[Any]) -> Iterable[Wait]:
    """List what stands in a queue; lock held."""
    for entry in queue:
        if entry.__class__ is not Task:
            since = entry.queued_at
            if entry.undrawn and since:
                yield Wait(since, None, entry.undrawn)
        elif entry._stage is PENDING:
            yield Wait(entry._queued_at, None, 1)


def depth(recording: Recording, *, most: int = 20_000) -> list[tuple[float, int]]:
    """Give how many calls were queued, from moment to moment, in so many steps at most.

    Of the steps that must be left out the highest is kept, so no peak is lost.
    """
    changes: list[tuple[float, int]] = []
    for one in recording.slices:
        if one.queued:
            count = one.items or 1
            changes += ((one.queued, count), (one.began, -count))
    for since, until, count in recording.waits:
        changes.append((since, count))
        if until is not None:
            changes.append((until, -count))
    changes.sort()
    steps: list[tuple[float, int]] = []
    level = 0
    for at, change in changes:
        level += change
        if steps and steps[-1][0] == at:
            steps[-1] = at, level
        else:
            steps.append((at, level))
    if len(steps) <= most:
        return steps
    width = -(-len(steps) // (most // 2))
    kept: list[tuple[float, int]] = []
    for first in range(0, len(steps), width):
        some = steps[first : first + width]
        kept.append(max(some, key=lambda step: step[1]))
        if kept[-1] is not some[-1]:
            kept.append(some[-1])
    return kept
