"""Who waits for a task: made when the first comes, told when it is over.

Most tasks of a batch are waited for by nobody, and carry none of this.
"""

from __future__ import annotations

import logging
from concurrent.futures._base import FINISHED
from typing import TYPE_CHECKING, Any

from workpool.situation import here

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

__all__ = ["Extras"]

_log = logging.getLogger("concurrent.futures")


class Extras:
    """What a task has only because somebody waits for it; the task's lock guards it until it is settled."""

    __slots__ = ("callbacks", "condition", "sleepers", "waiters")

    def __init__(self) -> None:
        self.condition: threading.Condition | None = None
        self.waiters: list[Any] = []  # of concurrent.futures.wait and as_completed
        self.callbacks: list[Callable[[Any], object]] = []
        self.sleepers: list[Any] = []  # a held lock for each thread in result()

    def tell(self, task: Any) -> None:
        """Wake who waits for the task and run the callbacks; called once, without the lock."""
        for sleeper in self.sleepers:
            sleeper.release()
        condition = self.condition
        if condition is not None:
            with condition:
                for waiter in self.waiters:
                    if task._state != FINISHED:
                        waiter.add_cancelled(task)
                    elif task._exception is not None:
                        waiter.add_exception(task)
                    else:
                        waiter.add_result(task)
                condition.notify_all()
        if not self.callbacks:
            return
        before, here.calls_back = here.calls_back, task._owner
        try:
            for fn in self.callbacks:
                try:
                    fn(task)
                except BaseException:
                    # SystemExit too: the thread that settles has others to serve, and the task to count.
                    _log.exception("exception calling callback for %r", task)
        finally:
            here.calls_back = before
