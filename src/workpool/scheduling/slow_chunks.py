"""Chunks that run in threads of this process, and take longer than thought: nobody waits for what they hold up.

A chunk is sized to take milliseconds. When one has run for a while (`PATIENCE`), what is finished behind a slow item
is told, and what waits behind it is given to whoever is free or may be started. So a chunk whose items wait for each
other, or for its consumer, comes to an end as single tasks would.

Who looks: a consumer that waits, and a thread that has nothing to do, now and then. And the timers' thread, while
chunks run that may well take long; to start it for each pool would cost a short map a third of its time. One chain
of such looks is enough for a pool; ``watched`` says that there is one. It ends with the last chunk.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.scheduling.hiring import Hiring
from workpool.scheduling.pace import TARGET

if TYPE_CHECKING:
    from workpool.scheduling.chunk import Chunk

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
        """Look in a while, and again as long as any chunk runs; by whoever set ``watched``, with the lock held."""
        try:
            self.timers.after(PATIENCE, self._keep_watch)
        except RuntimeError:  # the system has no thread to give: the next chunk tries again
            self.watched = False

    def _keep_watch(self) -> None:
        if self.look_at_chunks(keeping_watch=True):
            self.watch_chunks()

    def look_at_chunks(self, *, keeping_watch: bool = False) -> bool:
        """Tell what is finished, and share out what waits, in chunks that have run for a while; False if none runs."""
        with self.lock:
            running = [] if self.killed else self._running_chunks()
            if keeping_watch:
                self.watched = bool(running)
            free = self.free_hands
            parts = [self._part_of(*each, free) for each in running]
        self.share_out([part for part in parts if part is not None])
        return bool(running)

    def look_after(self, pause: float) -> float:
        """Look, for a consumer that has waited so long; gives how long it waits before the next look."""
        self.look_at_chunks()
        return min(2 * pause, LONGEST_PAUSE)

    def take_over(self, worker: Any) -> Chunk | None:
        """Take half of what waits behind a slow item, for a worker that has nothing to do; lock held.

        Where there is nothing yet it is to look again, unless somebody does.
        """
        running = self._running_chunks(all_kinds=True)
        worker.looks = bool(running) and not self.watched
        for other, chunk in running:
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
