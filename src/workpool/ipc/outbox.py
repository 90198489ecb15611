"""Outcomes on their way out of a worker process: written down first, sent together.

Outcomes wait here (and in the journal, in case of a kill) until they go through
the pipe together: when nothing is left to do, or half a millisecond has gone by.
Every call is made with the worker's lock held, which guards all of it and the
writing end of the pipe.

A frame that is torn
    By an exception of a signal's handler. Every later write fails (see ``FrameWriter``), and the
    worker ends; its death tells the parent to look into the journal.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from workpool.ipc.frames import LARGE, FrameWriter, pack

if TYPE_CHECKING:
    from workpool.ipc.journal import Journal

__all__ = [
    "DONE",
    "ERROR",
    "NO_FUNCTION",
    "NUMBERS",
    "PLAIN",
    "UNREADABLE",
    "VALUE",
    "VALUES",
    "Outbox",
]

DONE = 12  # the kind of frame that carries outcomes
# Kinds of outcomes:
VALUE, ERROR, UNREADABLE, VALUES = 0, 1, 2, 3
NO_FUNCTION = -1  # as UNREADABLE, but it was the function that could not be unpickled
PLAIN = -2  # as VALUE, but in the format of marshal, which takes a third of the time
NUMBERS: dict[type[Any], int] = {int: 4, float: 5}  # values of a slice as 8 bytes each

_FLUSH_AFTER = 500_000  # nanoseconds that outcomes wait for company while there is more to do


class Outbox:
    """What is finished and not sent."""

    __slots__ = ("_flushed_at", "_journal", "_waiting", "_writer")

    def __init__(self, fd: int, journal: Journal) -> None:
        self._writer = FrameWriter(fd)
        self._journal = journal
        self._waiting: list[Any] = []
        self._flushed_at = 0

    @property
    def torn(self) -> bool:
        """Whether a frame was left unfinished, and every write fails from now on."""
        return self._writer.torn

    def add(
        self, number: int, kind: int, payload: bytes, began: int, ended: int, *, more: bool
    ) -> None:
        """Write an outcome down, and send what has gathered if it is time or nothing is left to do."""
        outcome = (number, kind, payload, began, ended, 1)
        if not more and not self._waiting and len(payload) < LARGE:
            # Alone, and sent at once: a kill here is a kill while it was being sent.
            self._writer.write(pack((DONE, [outcome])))
            return
        kept = len(payload) < LARGE and self._journal.finish(number, kind, payload, began, ended)
        self._waiting.append(outcome)
        if not more or not kept or ended - self._flushed_at > _FLUSH_AFTER:
            self.flush()

    def add_sliced(self, outcomes: list[Any]) -> None:
        """Take outcomes of a slice, which the journal has; to be sent before another slice begins."""
        self._waiting.extend(outcomes)

    def flush(self) -> None:
        """Send what waits. The journal is emptied after that: a kill in between leaves both, told apart by number."""
        waiting = self._waiting
        if not waiting:
            return
        large = [outcome[2] for outcome in waiting if len(outcome[2]) >= LARGE]
        if large:
            waiting = [
                (n, k, p if len(p) < LARGE else len(p), b, e, c) for n, k, p, b, e, c in waiting
            ]
        self._writer.write(pack((DONE, waiting), large))
        self._journal.empty()
        self._waiting = []
        self._flushed_at = monotonic_ns()

    def send(self, message: Any) -> None:
        """Send a message that is no outcome, after the outcomes that wait."""
        self.flush()
        self._writer.write(pack(message))
