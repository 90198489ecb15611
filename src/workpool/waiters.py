"""Who waits for a task: made when the first comes, told when it is over.

Most tasks of a batch are waited for by nobody, and carry none of this.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from workpool.calm import is_heard, loudly, ring_again
from workpool.foreign import tell
from workpool.situation import here
from workpool.waits import wake_all

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Extras"]

_log = logging.getLogger("concurrent.futures")


class Extras:
    """What a task has only because somebody waits for it; the task's lock guards it until it is settled."""

    __slots__ = ("callbacks", "listeners", "sleepers", "views", "waiters")

    def __init__(self) -> None:
        self.waiters: list[Any] = []  # of concurrent.futures; closed by the end
        self.views: dict[int, list[str]] = {}  # what threads that hold _condition have seen
        self.listeners: list[Any] = []  # a held lock for each thread in _condition.wait()
        self.callbacks: list[Callable[[Any], object]] = []
        self.sleepers: list[Any] = []  # a held lock for each thread in result()

    def tell(self, task: Any) -> None:
        """Wake who waits for the task and run the callbacks; called once, without the lock."""
        self.wake(task)
        if self.callbacks:
            self.call_back(task)

    def wake(self, task: Any) -> None:
        """Wake who waits for the task."""
        for sleeper in self.sleepers:
            sleeper.release()
        if self.waiters or self.listeners:
            with task._lock:
                waiters = list(self.waiters)  # complete since the end, and left by who gives up
                wake_all(self.listeners)
            for waiter in waiters:
                tell(task, waiter)

    def call_back(self, task: Any) -> None:
        """Run the callbacks."""
        heard: BaseException | None = None
        before, here.calls_back = here.calls_back, task._owner
        try:
            for fn in self.callbacks:
                try:
                    loudly(fn, task)
                except BaseException as error:
                    # SystemExit too: the thread that settles has others to serve, and the task to count.
                    if is_heard(error):
                        heard = error
                    else:
                        _log.exception("exception calling callback for %r", task)
        finally:
            here.calls_back = before
        if heard is not None:
            ring_again(heard)
