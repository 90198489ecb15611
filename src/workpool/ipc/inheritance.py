"""What only travels by inheritance: ``multiprocessing`` locks, queues and pipes in ``initargs``.

Such objects refuse to be pickled unless a process is being started. While a
worker's setup is pickled this thread says that one is (``spawning``), and
collects the descriptors that must come along; in the worker they are looked up
by position.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Inherited", "Launch", "inherited", "spawning"]

_MANY = 100  # descriptors; a worker can be given 250 at once, and needs some itself

inherited: list[int] = []  # in a worker: the descriptors that came along


class Inherited:
    """A descriptor that comes along with a new worker; pickles as its position."""

    def __init__(self, position: int) -> None:
        self.position = position

    def detach(self) -> int:
        """Give the descriptor, in the worker."""
        return inherited[self.position]


class Launch:
    """Stands for the process that is being started, as ``multiprocessing`` asks for it."""

    DupFd = Inherited

    def __init__(self) -> None:
        self.fds: list[int] = []

    @property
    def crowded(self) -> bool:
        """Whether what can reach the worker without a descriptor should."""
        return len(self.fds) >= _MANY

    def duplicate_for_child(self, fd: int) -> int:
        """Note that a descriptor must come along; gives its position there."""
        self.fds.append(fd)
        return len(self.fds) - 1


@contextmanager
def spawning() -> Generator[Launch]:
    """Say in this thread that a process is being started."""
    from multiprocessing.context import set_spawning_popen

    launch = Launch()
    set_spawning_popen(cast("Any", launch))  # it does what is asked of a Popen there
    try:
        yield launch
    finally:
        set_spawning_popen(None)
