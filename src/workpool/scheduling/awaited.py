"""What workers wait for: tasks, map calls and more, of which it is asked whether any is not done."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

from workpool.task import Task

__all__ = ["Awaited", "Wait"]

_ROOM = 64  # that many may be done before any are dropped


class Wait:
    """A wait in a worker's thread, which holds it: it may end before what it is for, or be for no single task.

    Such are a join, the end of a pool, and a submit that waits for room.
    """

    __slots__ = ("__weakref__", "_task", "over", "workers")

    def __init__(self, task: Task[Any] | None = None) -> None:
        self._task = task
        self.over = False
        self.workers: list[Any] = []  # to hear of its end

    @property
    def finished(self) -> bool:
        """Whether it is over, or will be when its thread comes to it."""
        return self.over or (self._task is not None and self._task.done())


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
