"""What a worker process has begun and finished, readable after it was killed.

A few words and some room in memory that the worker and its parent share.

- Before a call begins, the worker stores its number and the time.
- A finished call's outcome is written into the journal before the next begins,
  and counts from the moment its end is stored. Outcomes then go through the pipe
  in batches; the journal is emptied after the write that carried them.

What a kill leaves behind, at any line: the number of the call that was running,
and every outcome before it, in the pipe or in the journal or in both (the parent
knows by number which it has). One call at most has begun and has no outcome:
the one that is charged.

Only the worker writes. The words are 8 bytes, aligned, and stored by one copy
each. The parent reads ``begun`` while the worker lives (an old value only makes
it look again later), and the rest after its death, when nothing moves any more.
"""

from __future__ import annotations

import marshal
import mmap
import os
from typing import Any

from workpool.ipc import nameless

__all__ = ["Journal", "make_journal"]

_SIZE = 1 << 16
_WORDS = 64  # bytes before the records
_BEGUN, _SINCE, _END = 0, 1, 2


def make_journal() -> int:
    """Make the memory for one worker; gives its file descriptor."""
    fd = nameless.make("journal")
    os.ftruncate(fd, _SIZE)
    return fd


class Journal:
    """One worker's journal, as either side sees it."""

    __slots__ = ("_at", "_memory", "_words")

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, _SIZE)
        self._words = memoryview(self._memory)[:_WORDS].cast("Q")
        self._at = _WORDS

    # ------------------------------------------------------------ the worker's side

    def begin(self, number: int, now: int) -> None:
        """Note that call ``number`` begins at ``now`` (monotonic, nanoseconds)."""
        words = self._words
        words[_SINCE] = now
        words[_BEGUN] = number + 1

    def finish(self, record: bytes) -> bool:
        """Write down an outcome; False when there is no room for it."""
        at = self._at
        end = at + 4 + len(record)
        if end > _SIZE:
            return False
        self._memory[at : at + 4] = len(record).to_bytes(4, "little")
        self._memory[at + 4 : end] = record
        self._at = end
        self._words[_END] = end
        return True

    def empty(self) -> None:
        """Forget the outcomes: they have gone through the pipe."""
        self._at = _WORDS
        self._words[_END] = 0

    # ------------------------------------------------------------ the parent's side

    def begun(self) -> tuple[int, float]:
        """Give the number of the latest call begun (-1: none) and when, in monotonic seconds."""
        words = self._words
        return words[_BEGUN] - 1, words[_SINCE] / 1e9

    def records(self) -> list[Any]:
        """Give the outcomes that are in it; only when the worker is dead."""
        end = self._words[_END]
        at = _WORDS
        found: list[Any] = []
        while at < end:
            size = int.from_bytes(self._memory[at : at + 4], "little")
            found.append(marshal.loads(self._memory[at + 4 : at + 4 + size]))  # noqa: S302
            at += 4 + size
        return found

    def close(self) -> None:
        """Unmap it."""
        self._words.release()
        self._memory.close()
