"""What a worker that cannot be killed writes down and tells: nothing any more, once it is written off.

The parent notes that in the journal; each step here that would be seen outside looks for it first.
"""

from __future__ import annotations

import os
from typing import Any

from workpool._compat import Lock
from workpool.ipc.journal import Journal
from workpool.ipc.outbox import Outbox

__all__ = ["VoidableJournal", "VoidableOutbox", "WrittenOff"]


class WrittenOff(BaseException):
    """The worker is void: whatever it was about to do is not its to do any more."""


class VoidableJournal(Journal):
    """A journal that nothing is begun in any more once the worker is void."""

    __slots__ = ("_fence",)

    def __init__(self, fd: int) -> None:
        try:
            super().__init__(fd)
        finally:
            os.close(fd)
        self._fence = Lock()

    def begin(self, number: int, now: int) -> None:
        """Note that a call begins; it does not, if that is void."""
        super().begin(number, now)
        # The parent notes "void" and then reads what has begun; here it is the other way round, and
        # with a full barrier between the two steps on both sides one of them sees the other.
        with self._fence:
            pass
        self.check()

    def begin_slice(self, number: int, size: int, now: int, kind: type[Any]) -> None:
        """Note that many do."""
        self.check()
        super().begin_slice(number, size, now, kind)

    @property
    def still(self) -> bool:
        """The same; who stands still leaves when it is written off."""
        still = super().still
        if still:
            self.check()
        return still

    def check(self) -> None:
        """Raise `WrittenOff` once the worker is void."""
        if self.void:
            raise WrittenOff


class VoidableOutbox(Outbox):
    """An outbox that lets nothing out once the worker is void."""

    __slots__ = ("_check",)

    def __init__(self, fd: int, journal: VoidableJournal) -> None:
        super().__init__(fd, journal)
        self._check = journal.check

    def add(
        self, number: int, kind: int, payload: bytes, began: int, ended: int, *, more: bool
    ) -> None:
        """Take an outcome."""
        self._check()
        super().add(number, kind, payload, began, ended, more=more)

    def add_sliced(self, outcomes: list[Any]) -> None:
        """Take those of a slice."""
        self._check()
        super().add_sliced(outcomes)

    def flush(self) -> None:
        """Send what waits."""
        self._check()
        super().flush()

    def send(self, message: Any) -> None:
        """Send a message behind it."""
        self._check()
        super().send(message)

    def give_up(self, message: Any) -> None:
        """Send what waits and a last message, although the worker is void."""
        self._check = _nothing
        try:
            super().send(message)
        finally:
            self._check = _refuse


def _nothing() -> None:
    pass


def _refuse() -> None:
    raise WrittenOff
