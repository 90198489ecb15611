"""Storing outcomes: each task and item is settled once, and counted done when that is told.

Result first, then the count: ``join`` must not overtake the result. A task that
somebody waits for is counted only after its callbacks have run.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.scheduling.chunk import Piece
from workpool.scheduling.state import State
from workpool.task import CANCELLED_AND_NOTIFIED, RUNNING

if TYPE_CHECKING:
    from workpool.scheduling.chunk import Item
    from workpool.scheduling.mapjob import MapJob
    from workpool.task import Task

__all__ = ["Settling"]


class Settling(State):
    """Stores what came out of tasks and map calls."""

    def settle(
        self,
        task: Task[Any],
        result: Any,
        error: BaseException | None,
        *,
        by: Any = None,
        measured: tuple[Any, float, int] | None = None,
    ) -> bool:
        """Store a task's outcome and count it done; False if that is no longer ``by``'s to do.

        With it may come what was ``measured``: a function, and how long so many calls of it took.
        """
        _call = task._call  # kept beyond the lock: finalizers of arguments are user code
        with self.lock:
            if measured is not None:
                self.pace.measured(*measured)
            if task._stage is not RUNNING or (by is not None and by.written_off):
                return False
            extras = task.settle(result, error)
            if task._ended_at < task._started_at:
                task._ended_at = monotonic()  # settled from outside, while it ran
            self.tally.ended(task, error)
            if extras is None:
                # Result first, then the count: join() must not overtake the result.
                epoch = task._epoch
                epoch.left -= 1
                if not epoch.left:
                    self._emptied(epoch)
                return True
        self.tell(task, extras)
        return True

    def settle_many(
        self, outcomes: list[tuple[Task[Any], Any, BaseException | None]], paces: list[Any]
    ) -> None:
        """Store the outcomes of tasks that came together, in one step where nobody waits for them.

        ``paces`` are lists of function, seconds and calls that were measured with them.
        """
        waited_for: list[Task[Any]] = []
        _calls = [task._call for task, _, _ in outcomes]  # kept beyond the lock, as in settle()
        with self.lock:
            for fn, seconds, calls in paces:
                self.pace.measured(fn, seconds, calls)
            for task, value, error in outcomes:
                if task._stage is not RUNNING:
                    continue
                extras = task.settle(value, error)
                self.tally.ended(task, error)
                if extras is None:
                    epoch = task._epoch
                    epoch.left -= 1
                    if not epoch.left:
                        self._emptied(epoch)
                else:
                    waited_for.append(task)
        for task in waited_for:
            self.tell(task, task._extras)  # type: ignore[arg-type]  # it had extras, and they stay

    def assign(self, tasks: list[Task[Any]], index: int) -> list[Task[Any]]:
        """Have tasks be with the worker that is about to send them; those cancelled on their way are not.

        From this step on, whoever wants one ended asks the worker, which has sent it by the
        time that it listens. Before it, nobody has the task, and it is cut where it is.
        """
        unwanted: list[Task[Any]] = []
        mine: list[Task[Any]] = []
        with self.lock:
            for task in tasks:
                if task._stage is not RUNNING:
                    continue
                if task._unwanted:
                    self.cut(task)
                    unwanted.append(task)
                else:
                    task._worker = index
                    mine.append(task)
        for task in unwanted:
            self.tell_cancelled(task)
        return mine

    def settle_cancelled(self, task: Task[Any]) -> None:
        """End a task that was running as cancelled."""
        with self.lock:
            if task._stage is not RUNNING:
                return
            self.cut(task)
        self.tell_cancelled(task)

    def cut(self, task: Task[Any]) -> None:
        """Make a task that was running a cancelled one, which has yet to be told; lock held."""
        self.litter.append(task._call)
        task._stage = CANCELLED_AND_NOTIFIED
        task._drop_call()
        task._ended_at = monotonic()
        self.tally.cut(task)

    def tell_cancelled(self, task: Task[Any]) -> None:
        """Tell who waits for a task that it was cut, and count it done."""
        self.sweep()
        with self.lock:
            extras = task._extras
            if extras is None:
                self.count_done(task)
        if extras is not None:
            self.tell(task, extras)

    def deliver(self, job: MapJob, piece: Piece, ran: tuple[Any, ...] | None = None) -> None:
        """Store results of a map call and count its items done; ``ran`` is for ``Tally.ran``."""
        with self.lock:
            if ran is not None:
                self.tally.ran(*ran)
            self.tally.items(len(piece.values), len(piece.errors) if piece.errors else 0)
            job.deliver(piece)

    def settle_item(self, item: Item, values: list[Any] | None, worker: int, ended: float) -> bool:
        """Store the result of an item under a time limit; None if it failed: then the rest is the caller's to do.

        In one step, for whoever counts what is left in a thread that is given up: an item that is
        settled was counted, or is about to be by a thread that is not torn out of that.

        Returns
        -------
        bool
            False if the item was given up before.
        """
        job = item.chunk.job
        with self.lock:
            if item.settled:
                return False
            item.settled = True
            if ended:  # else it was not begun
                self.pace.measured(job.fn, ended - item.began, 1)
                self.tally.ran(*item.ran(worker, ended, failed=values is None))
            if values is not None:
                self.tally.items(1, 0)
                job.deliver(Piece(item.chunk.start + item.offset, values, None))
        return True

    def note_run(self, ran: tuple[Any, ...]) -> None:
        """Take in when items ran of which none is delivered; see ``Tally.ran``."""
        with self.lock:
            self.tally.ran(*ran)
