"""What workers wait for: tasks, map calls and more, of which it is asked whether any is not done."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

from workpool.task import Task

__all__ = ["Awaited", "Wait"]

_ROOM = 64  # that many may be done before any are dropped


class Wait:
    """Stands for what is no task and no map call: a join, the end of a pool, room in a queue. Held by who waits."""

    __slots__ = ("__weakref__", "finished")

    def __init__(self) -> None:
        self.finished = False


class Awaited:
    """Holds none of them back. A scheduler's lock guards it.

    Ten thousand may be added one by one, by ``wait``, with a question after each: so a question stops at the first
    that is not done, and forgets those before it.
    """

    def __init__(self) -> None:
        self._refs: deque[weakref.ref[Any]] = deque()
        self._most = _ROOM

    def add(self, what: Any) -> None:
        """Add a task, a map call, or a wait."""
        refs = self._refs
        if len(refs) >= self._most:  # behind one that takes long, many may be done
            self._refs = refs = deque(filter(_lasts, refs))
            self._most = 2 * len(refs) + _ROOM
        refs.append(weakref.ref(what))

    def last(self) -> bool:
        """Tell whether any of them is not done."""
        refs = self._refs
        while refs:
            if _lasts(refs[0]):
                return True
            refs.popleft()
        return False


def _lasts(awaited: weakref.ref[Any]) -> bool:
    what = awaited()
    if what is None:
        return False
    return not (what.done() if what.__class__ is Task else what.finished)
