"""Who waits for a task: made when the first comes, told when it is over.

Most tasks of a batch are waited for by nobody, and carry none of this.
"""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from workpool.calm import is_heard, is_strike, loudly, ring_again
from workpool.foreign import tell
from workpool.headroom import stack_is_deep
from workpool.safelog import SafeLog
from workpool.situation import here
from workpool.waits import wake_all

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Extras", "flatly"]

_log = SafeLog("concurrent.futures")


class Extras:
    """What a task has only because somebody waits for it; the task's lock guards it until it is settled."""

    __slots__ = ("callbacks", "listeners", "sleepers", "views", "waiters")

    def __init__(self) -> None:
        self.waiters: list[Any] = []  # of concurrent.futures; closed by the end
        self.views: dict[int, list[str]] = {}  # what threads that hold _condition have seen
        self.listeners: list[Any] = []  # a held lock for each thread in _condition.wait()
        self.callbacks: list[Callable[[Any], object]] = []
        self.sleepers: list[Any] = []  # a held lock for each thread in result()

    def tell(self, task: Any, then: Callable[[Any], object] | None = None) -> None:
        """Wake who waits for the task and run the callbacks, then make a last call; called once, without the lock."""
        try:
            self.wake(task)
        finally:
            if self.callbacks:
                self.call_back(task, then)
            elif then is not None:
                then(task)

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

    def call_back(self, task: Any, then: Callable[[Any], object] | None = None) -> None:
        """Run the callbacks, then make a last call."""
        flatly(partial(self._call_back, task, then))

    def _call_back(self, task: Any, then: Callable[[Any], object] | None) -> None:
        heard: BaseException | None = None
        before = here.calls_back
        here.calls_back = (*before, task._owner)
        try:
            for fn in self.callbacks:
                try:
                    loudly(fn, task)
                except BaseException as error:
                    # SystemExit too: the thread that settles has others to serve, and the task to count.
                    if is_strike(error):
                        heard = error
                    else:
                        _log.exception("exception calling callback for %r", task)
        finally:
            here.calls_back = before
            if then is not None:
                then(task)
        if heard is not None and not is_heard(heard):
            raise heard  # it was sent into this thread, which is in a call that is to end
        if heard is not None:
            ring_again(heard)


def flatly(call: Callable[[], None]) -> None:
    """Run callbacks of a task.

    One may end another task, whose callbacks run inside it, and so on. Where the stack is deep, these are left to the
    outermost, which comes to them when its own are through.
    """
    if _here.calls_back and stack_is_deep():
        _here.put_off.append(call)
        return
    before, _here.calls_back = _here.calls_back, True
    try:
        call()
    finally:
        try:
            if not before:
                _catch_up(_here.put_off)
        finally:
            _here.calls_back = before


class _Here(threading.local):
    """Callbacks of this thread."""

    def __init__(self) -> None:
        self.calls_back = False
        self.put_off: deque[Callable[[], None]] = deque()


_here = _Here()


def _catch_up(calls: deque[Callable[[], None]]) -> None:
    """Make calls that were put off, and those that come meanwhile, whatever one of them raises."""
    try:
        while calls:
            calls.popleft()()
    except BaseException:
        _catch_up(calls)
        raise
