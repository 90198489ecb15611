"""A pipe that wakes a thread which sleeps on descriptors; any other thread may ring it.

Its descriptors are closed with the last reference to it, and not when the sleeper leaves: who is
about to ring at that moment has one. A byte that is written a moment after a close goes to
whatever file has been given that number since, such as the pipe of another worker.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Waker"]


class Waker:
    """Made by the thread that is going to be woken, or for it.

    Raises
    ------
    OSError
        There is no descriptor left.
    """

    __slots__ = ("_fds",)

    def __init__(self) -> None:
        self._fds: tuple[int, ...] = ()  # if there is none left, there is none to close
        self._fds = os.pipe()
        for fd in self._fds:
            os.set_blocking(fd, False)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        set(map(close, self._fds))  # one step, for Ctrl-C

    @property
    def fd(self) -> int:
        """What to sleep on: it can be read when somebody has rung."""
        return self._fds[0]

    def ring(self) -> None:
        """Wake the sleeper; a full pipe means that it will wake anyway."""
        with suppress(BlockingIOError):
            os.write(self._fds[1], b"!")

    def hush(self) -> None:
        """Take in that it has rung."""
        with suppress(BlockingIOError):
            os.read(self._fds[0], 4096)
