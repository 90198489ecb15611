"""Who is alive: each process has a number, and the kernel says whether its owner still lives.

The number is drawn once a process, and is a byte of each arena's lock file that
concerns it: the process holds a record lock on that byte, and the kernel drops
it when the process ends, however it ends. So what a process has written its
number on can be taken from it when it is dead. Process ids would not do: they
are used again.

An interpreter is a process here: it has a number of its own. Its record lock is the process's, so it says itself
when it ends (`leave`). A process cannot try a lock that it has itself, but it can ask who has it, in the name of
the open file (``F_OFD_GETLK``). Where the kernel does not answer that, all interpreters of a process have one
number: who makes another interpreter tells it (`shared_number`, `adopt`).

Order: a process holds its byte before it writes its number anywhere.
"""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from workpool._compat import LINUX, RLock

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from workpool.ipc.arenas import Arena

__all__ = ["NOBODY", "adopt", "ended", "kept", "leave", "our_number", "shared_number"]

# Far beyond the bytes that record locks take, which are offsets of an arena; and below 2**63.
_FIRST, _LAST = 1 << 61, (1 << 62) - 1
#: A number that no process has: its owner has ended, whoever asks.
NOBODY = _LAST + 1

_lock = RLock()  # guards _number and _announced; a signal's handler may come by in the middle
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
    """Return what another interpreter of this process has to `adopt`: this one's number, or 0 if it draws its own."""
    if _ASKS:
        return 0
    with _lock:
        _draw()
        return _number


def adopt(number: int) -> None:
    """Be known by that number; in a new interpreter. 0: by one that is yet to be drawn."""
    global _number  # noqa: PLW0603 - one a process
    with _lock:
        _number = number


def leave() -> None:
    """Be one that has ended, though the process lives on: the last thing that an interpreter does with shared state."""
    with _lock:
        if not _ASKS:
            return  # the number is that of others, too
        for fd in kept.values():
            with suppress(OSError):  # one of another interpreter, and closed: so the byte is let go
                fcntl.lockf(fd, fcntl.LOCK_UN, 1, _number)


def _draw() -> None:
    """Draw the number, once; `_lock` is held."""
    global _number  # noqa: PLW0603 - one a process
    if _number == 0:
        number = _FIRST | int.from_bytes(os.urandom(8)) >> 3  # of 61 bits below the first one
        if _number == 0:
            _number = number


def ended(arena: Arena, number: int) -> bool:
    """Tell whether the process of that number has ended. When in doubt it has not: ask again."""
    if number == _number:
        return False
    if _ASKS:
        return not _held(arena.locks_fd, number)
    try:
        fcntl.lockf(arena.locks_fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
    except OSError as error:
        if error.errno is None:  # what strikes from outside, as the end of a time limit does
            raise
        return False  # it holds its byte, or someone else is looking right now
    finally:
        fcntl.lockf(arena.locks_fd, fcntl.LOCK_UN, 1, number)  # it is not ours, whatever came
    return True


def _held(fd: int, byte: int) -> bool:
    """Ask whether any process has a lock on that byte, this one included."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    kind: int = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0]
    return kind != fcntl.F_UNLCK


def _asks() -> bool:
    """Find out whether the kernel answers that."""
    if not LINUX or not hasattr(fcntl, "F_OFD_GETLK"):
        return False
    fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        return not _held(fd, 0)
    except OSError:
        return False
    finally:
        os.close(fd)


_FLOCK = struct.Struct("hhqqi")  # Linux's struct flock: kind, whence, start, length, process
_ASKS = _asks()


def _after_fork_in_child() -> None:
    """Be another process: record locks are not inherited."""
    global _lock, _number  # noqa: PLW0603 - another thread may have had the lock
    _lock = RLock()
    _number = 0
    _announced.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
