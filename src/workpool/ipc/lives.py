"""Who is alive: each process has a number, and the kernel says whether its owner still lives.

The number is drawn once a process, and is a byte of each arena's lock file that
concerns it: the process holds a record lock on that byte, and the kernel drops
it when the process ends, however it ends. So what a process has written its
number on can be taken from it when it is dead. Process ids would not do: they
are used again.

The interpreters of one process have one number, for the kernel sees one process: who makes
another interpreter tells it (`shared_number`, `adopt`).

Order: a process holds its byte before it writes its number anywhere.
"""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING

from workpool._compat import Lock

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from workpool.ipc.memory import Arena

__all__ = ["adopt", "ended", "kept", "our_number", "shared_number"]

# Far beyond the bytes that record locks take, which are offsets of an arena; and below 2**63.
_FIRST, _LAST = 1 << 61, (1 << 62) - 1

_lock = Lock()  # guards _number and _announced
_number = 0  # 0: not drawn yet
_announced: set[str] = set()  # tokens of the arenas in whose lock file we hold our byte

# The descriptors of these lock files, by token. Never closed, though nobody here may have the arena any
# more: the kernel would drop our byte, as if we had ended, with any descriptor of that file that we close.
kept: dict[str, int] = {}


def our_number(arena: Arena) -> int:
    """Return this process's number, known in the arena from now on until the process ends."""
    if arena.token in _announced:
        return _number
    with _lock:
        _draw()
        if arena.token not in _announced:
            kept.setdefault(arena.token, arena.locks_fd)
            # Only we know the number yet, so no one can be looking whether we have ended.
            fcntl.lockf(arena.locks_fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _number)
            _announced.add(arena.token)
        return _number


def shared_number() -> int:
    """Return this process's number, to be given to another interpreter of it."""
    with _lock:
        _draw()
        return _number


def adopt(number: int) -> None:
    """Be of the process that has this number; in a new interpreter of it."""
    global _number  # noqa: PLW0603 - one a process
    with _lock:
        _number = number


def _draw() -> None:
    """Draw the number, once; `_lock` is held."""
    global _number  # noqa: PLW0603 - one a process
    if _number == 0:
        _number = random.SystemRandom().randint(_FIRST, _LAST)


def ended(arena: Arena, number: int) -> bool:
    """Tell whether the process of that number has ended. When in doubt it has not: ask again."""
    if number == _number:
        return False
    try:
        fcntl.lockf(arena.locks_fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
    except OSError:
        return False  # it holds its byte, or someone else is looking right now
    fcntl.lockf(arena.locks_fd, fcntl.LOCK_UN, 1, number)
    return True


def _after_fork_in_child() -> None:
    """Be another process: record locks are not inherited."""
    global _lock, _number  # noqa: PLW0603 - another thread may have had the lock
    _lock = Lock()
    _number = 0
    _announced.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
