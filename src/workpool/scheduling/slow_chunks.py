"""Chunks that run in threads of this process, and take longer than thought: nobody waits for what they hold up.

A chunk is sized to take milliseconds. When one has run for a while (`PATIENCE`), what is finished behind a slow item
is told, and what waits behind it is given to whoever is free or may be started. So a chunk whose items wait for each
other, or for its consumer, comes to an end as single tasks would.

Who looks: a consumer or a join that waits, and a thread that has nothing to do, now and then. And the timers'
thread, while chunks run that may well take long; to start it for each pool would cost a short map a third of its
time. One chain of such looks is enough for a pool; ``watched`` says that there is one. It ends with the last chunk.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from workpool.calm import calmly
from workpool.scheduling.chunk import Chunk
from workpool.scheduling.hiring import Hiring
from workpool.scheduling.pace import TARGET

__all__ = ["LONGEST_PAUSE", "PATIENCE", "SlowChunks"]

PATIENCE = 3 * TARGET  # seconds that a chunk may take before others look at it
LONGEST_PAUSE = 1.0  # seconds between two looks of one that waits
_LONG = TARGET / 10  # seconds that a chunk is expected to take, from which on it is watched


class SlowChunks(Hiring):
    """Takes from chunks what they hold up."""

    def begins_watch(self, chunk: Chunk) -> bool:
        """Tell whether looks are to begin with this chunk, which begins; lock held. Then `watch_chunks` is called."""
        if self.watched or chunk.size <= 1:
            return False
        seconds = self.pace.of(chunk.job.fn)
        self.watched = seconds is None or seconds * chunk.size >= _LONG
        return self.watched

    def watch_chunks(self) -> None:
        """Look in a while, and as long as chunks run that hold something up; by whoever set ``watched``."""
        try:
            self.timers.after(PATIENCE, self._keep_watch)
        except RuntimeError:  # the system has no thread to give: the next chunk tries again
            self.watched = False

    def watch_what_runs(self) -> None:
        """Begin looks, if there is anything to look at: for one that waits, and has no looks of its own."""
        with self.lock:
            begins = not self.watched and not self.killed and self._may_hold_up()
            self.watched = self.watched or begins
        if begins:
            self.watch_chunks()

    def _keep_watch(self) -> None:
        try:
            going_on = self._look_at_chunks(keeping_watch=True)
        except BaseException:
            self.watched = False
            raise
        if going_on:
            self.watch_chunks()

    def look_at_chunks(self) -> bool:
        """Tell what is finished, and share out what waits, in chunks that have run for a while.

        Gives whether to look again. In one step, for whoever is told less is told it never, and what is in hand here
        is in no queue.
        """
        return calmly(self._look_at_chunks)

    def _look_at_chunks(self, *, keeping_watch: bool = False) -> bool:
        with self.lock:
            running = [] if self.killed else self._running_chunks()
            free = self.free_hands
            parts = [self._part_of(*each, free) for each in running]
            again = not self.killed and self._may_hold_up()
            if keeping_watch:
                self.watched = again  # in this very step: a chunk that begins after it begins a watch of its own
        self.share_out([part for part in parts if part is not None])
        return again

    def _may_hold_up(self) -> bool:
        """Tell whether any chunk holds up something, or is just being begun; lock held."""
        other: Any
        for other in self.workers.values():
            if getattr(other, "others_look", False):
                chunk = other.chunk
                if other.taken.__class__ is Chunk:
                    return True
                if chunk is not None and (chunk.todo or other.finished > other.handed_out):
                    return True
        return False

    def look_after(self, pause: float) -> float:
        """Look, for one that has waited so long; gives how long it waits before the next look."""
        self.look_at_chunks()
        return min(2 * pause, LONGEST_PAUSE)

    def take_over(self, worker: Any) -> Chunk | None:
        """Take half of what waits behind a slow item, for a worker that has nothing to do; lock held.

        Where there is nothing yet it is to look again, unless somebody does.
        """
        each: Any  # of this process, as the one that asks
        for each in self.workers.values():
            if each.chunk is not None or each.taken.__class__ is Chunk:
                break
        else:
            worker.looks = False  # as nearly always
            return None
        worker.looks = not self.watched and self._may_hold_up()
        for other, chunk in self._running_chunks(all_kinds=True):
            taken = self._part_of(other, chunk, 1)
            if taken is not None:
                return taken
        return None

    def _running_chunks(self, *, all_kinds: bool = False) -> list[tuple[Any, Chunk]]:
        """List the chunks that run in threads of the pool, or in any of this process; lock held."""
        found: list[tuple[Any, Chunk]] = []
        other: Any  # a worker of this process has what is asked for here, others have no chunk
        for other in self.workers.values():
            chunk = getattr(other, "chunk", None)
            if chunk is not None and (all_kinds or other.others_look):
                found.append((other, chunk))
        return found

    def _part_of(self, other: Any, chunk: Chunk, free: int) -> Chunk | None:
        """Deliver what a thread has finished of a chunk that takes long; lock held.

        Gives a part of what waits in it for so many others: half of it, or more for more of them.
        """
        if monotonic() - other.began < PATIENCE:
            return None
        piece = other.finished_part()
        if piece is not None:
            self.tally.items(len(piece.values), len(piece.errors or ()))
            chunk.job.deliver(piece)
        return chunk.take_back(-(-len(chunk.todo) * free // (free + 1)))
