"""Whom a map call deals with: the scheduler it is queued with, and guests it has only when asked for.

A guest is an integration above this layer: who counts and shows what comes out, who
keeps it on a disk. The call knows them by these protocols alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from workpool.scheduling.chunk import Piece
    from workpool.scheduling.later import Later
    from workpool.scheduling.ledger import Epoch, Ledger
    from workpool.scheduling.mapjob import MapJob
    from workpool.scheduling.pace import Pace
    from workpool.scheduling.tally import Tally

__all__ = ["Host", "Meter", "Scribe"]


class Host(Protocol):
    """What a map call asks of the scheduler."""

    lock: Any
    litter: deque[Any]  # what was dropped with the lock held, until it is swept
    later: Later
    max_workers: int
    pace: Pace
    ledger: Ledger
    tally: Tally

    def enqueue_job(self, job: MapJob) -> None:
        """Put the call on the queue and wake workers for it; lock held."""

    def admit(self, job: MapJob, count: int) -> None:
        """Count that many more items as submitted, or raise PoolClosed; lock held."""

    def dismiss(self, epoch: Epoch, count: int) -> None:
        """Count that many items as done; lock held."""

    def abandon(self, job: MapJob) -> None:
        """Count items done that wait for their next attempt, and tell those that run; lock held."""

    def sweep(self) -> None:
        """Let go of what was dropped with the lock held; without the lock."""

    def without_lock(self, call: Callable[[], object]) -> None:
        """Make a call that takes the lock, from where this very thread may hold it."""

    def overlook(self, job: MapJob) -> None:
        """Hear that nobody has the results of the call any more; without the lock."""

    def look_after(self, pause: float) -> float:
        """See to chunks that take long, for a consumer that waits; gives seconds until the next look."""
        ...

    def refuse_midway(self, call: str) -> None:
        """Raise WouldDeadlock if this very thread holds the lock."""

    def hire(self) -> None:
        """Start workers for what is queued; without the lock."""

    def unattended(self) -> None:
        """See to what is queued although this thread, which should have hired, was interrupted."""

    def assist_job(self, job: MapJob) -> None:
        """Hear that a thread is about to wait for the call's results; without the lock."""


class Meter(Protocol):
    """Counts what comes out of a map call, for whoever watches; each call is made with the lock held."""

    def count(self, done: int, failed: int, restored: int = 0) -> None:
        """Hear of so many more items with a result (of them, restored) and with an error."""

    def know_total(self, total: int) -> None:
        """Hear how many items there are, now that all input is pulled."""

    def end(self) -> None:
        """Hear that nothing more will come."""

    def wait(self) -> None:
        """Let what was counted be shown, but not for ever; without the lock."""

    def when_done(self, call: Callable[[], object]) -> float:
        """Have a call made when it is shown; give the seconds for which that is worth waiting."""
        ...


class Scribe(Protocol):
    """Keeps what comes out of a map call, and gives back what it kept in an earlier run."""

    def restore(self, start: int, items: Sequence[Any], *, last: bool) -> dict[int, Any]:
        """Give the results that are kept of these items, by position; by whoever pulls, without the lock."""
        ...

    def take(self, job: Any, piece: Piece) -> None:
        """Keep results, and then have the call settle them; lock held."""

    def look(self) -> None:
        """See whether there is more to come; lock held."""

    def wait(self) -> None:
        """Let the file be closed, but not for ever; without the lock."""

    def when_done(self, call: Callable[[], object]) -> float:
        """Have a call made when it is closed; give the seconds for which that is worth waiting."""
        ...
