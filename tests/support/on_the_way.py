"""Tasks that are held on their way from submit to their worker, and calls that stop where a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from tests.support.gates import DEADLINE
from tests.support.queues import until
from workpool import Pool

__all__ = ["Stopped", "in_the_inbox", "stopped_after", "stopped_before"]


@contextmanager
def in_the_inbox(pool: Pool) -> Generator[None]:
    """Have an idle worker not look into its inbox, and nobody do so for it, until the block ends."""
    scheduler = pool._scheduler
    until(lambda: len(scheduler.idle) == len(scheduler.workers) == 1)
    (worker,) = scheduler.idle
    anything: Any = worker
    if hasattr(worker, "_turn"):
        with anything._turn:  # neither the thread that submits nor the driver can send
            yield
        worker.wake()
        return
    wake, anything.wake = worker.wake, int  # which does nothing
    try:
        yield
    finally:
        anything.wake = wake
        wake()


class Stopped:
    """A call that stops once before or after it is made, until it is told to go on."""

    def __init__(
        self, call: Callable[..., Any], *, before: bool, here: Callable[..., bool]
    ) -> None:
        self._call = call
        self._before = before
        self._here = here
        self.seen: tuple[Any, ...] = ()  # what the one who stopped had in hand
        self._arrived = threading.Event()
        self._go = threading.Event()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._before:
            self._stop(*args)
            return self._call(*args, **kwargs)
        result = self._call(*args, **kwargs)
        self._stop(result)
        return result

    def _stop(self, *seen: Any) -> None:
        if not self._arrived.is_set() and self._here(*seen):
            self.seen = seen
            self._arrived.set()
            assert self._go.wait(DEADLINE), "nobody said go"

    def arrival(self) -> None:
        """Wait until somebody is there."""
        assert self._arrived.wait(DEADLINE), f"nobody came by {self._call}"

    @property
    def arrived(self) -> bool:
        """Whether somebody is, or was."""
        return self._arrived.is_set()

    def go(self) -> None:
        """Let them go on."""
        self._go.set()


@contextmanager
def _stopped(
    owner: Any, name: str, *, before: bool, here: Callable[..., bool]
) -> Generator[Stopped]:
    stopped = Stopped(getattr(owner, name), before=before, here=here)
    setattr(owner, name, stopped)
    try:
        yield stopped
    finally:
        delattr(owner, name)  # the class's own is seen again
        stopped.go()


def stopped_before(owner: Any, name: str, *, here: Callable[..., bool] = lambda *_: True) -> Any:
    """Stop whoever makes that call first for which it is so, before it is made; asked with its arguments."""
    return _stopped(owner, name, before=True, here=here)


def stopped_after(owner: Any, name: str, *, here: Callable[..., bool] = lambda _: True) -> Any:
    """Stop whoever makes that call first for which it is so, when it is made; asked with its result."""
    return _stopped(owner, name, before=False, here=here)
