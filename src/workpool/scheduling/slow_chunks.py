"""Chunks that run in threads of this process, and take longer than thought: nobody waits for what they hold up.

A chunk is sized to take milliseconds. While any runs, somebody looks in a while (`PATIENCE`), in the timers'
thread: what is finished behind a slow item is told, and what waits behind it is given to whoever is free or may
be started. So a chunk whose items wait for each other, or for its consumer, comes to an end as single tasks would.
One chain of looks is enough for a pool; ``watched`` says that there is one. It ends with the last chunk.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.scheduling.hiring import Hiring
from workpool.scheduling.pace import TARGET

if TYPE_CHECKING:
    from workpool.scheduling.chunk import Chunk

__all__ = ["PATIENCE", "SlowChunks"]

PATIENCE = 3 * TARGET  # seconds that a chunk may take before others look at it


class SlowChunks(Hiring):
    """Takes from chunks what they hold up."""

    def watch_chunks(self) -> None:
        """Look in a while, and again as long as any chunk runs; by whoever set ``watched``, with the lock held."""
        try:
            self.timers.after(PATIENCE, self._look_at_chunks)
        except RuntimeError:  # the system has no thread to give: the next chunk tries again
            self.watched = False

    def _look_at_chunks(self) -> None:
        with self.lock:
            running = self._running_chunks()
            self.watched = going_on = bool(running) and not self.killed
            free = self.free_hands
            parts = [self._part_of(*each, free) for each in running] if going_on else []
        self.share_out([part for part in parts if part is not None])
        if going_on:
            self.watch_chunks()

    def take_over(self) -> Chunk | None:
        """Take half of what waits behind a slow item, for a worker that has nothing to do; lock held."""
        for other, chunk in self._running_chunks():
            taken = self._part_of(other, chunk, 1)
            if taken is not None:
                return taken
        return None

    def _running_chunks(self) -> list[tuple[Any, Chunk]]:
        """List the chunks that run in threads of this process; lock held."""
        found: list[tuple[Any, Chunk]] = []
        other: Any  # a worker of this process has what is asked for here, others have no chunk
        for other in self.workers.values():
            chunk = getattr(other, "chunk", None)
            if chunk is not None:
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
