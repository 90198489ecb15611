"""Submits that wait for room in the queue, in the order in which they are given it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

__all__ = ["Putters"]


class Putters(OrderedDict[Any, None]):
    """Held locks of threads, and stand-ins of coroutines. The scheduler's lock guards them.

    A coroutine that is woken comes when its loop's thread does. Where that thread itself waits here, because a
    coroutine of the loop has called ``submit``, the others would be given the room and never come for it: so a
    thread that runs a loop stands in front.
    """

    def enlist(self, sleeper: Any, *, in_front: bool = False) -> None:
        """Add one; it is woken once, and stands here no more then."""
        self[sleeper] = None
        if in_front:
            self.move_to_end(sleeper, last=False)

    def leave(self, sleeper: Any) -> bool:
        """Take one out; False if it has been woken."""
        if sleeper not in self:
            return False
        del self[sleeper]
        return True

    def serve(self, room: int) -> None:
        """Wake as many as there is room for."""
        while self and room > 0:
            sleeper, _ = self.popitem(last=False)
            # A coroutine whose loop is gone does not take the place it was woken for.
            if sleeper.release() is not False:
                room -= 1

    def serve_all(self) -> None:
        """Wake all: there is no room any more to wait for."""
        self.serve(len(self))
