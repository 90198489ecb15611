"""The files of shared memory that this process has: its own arena, those it was given, those it borrowed.

A process that makes shared objects has one *arena*: a file without a name that
grows as needed. Beside it lies a second, empty file for record locks: POSIX drops all record locks a process has
on a file as soon as that process closes any descriptor of it, and ``mmap``
closes one with every mapping, so the two cannot be the same file.

How an arena reaches another process
    Its pickle names it by token. A worker is given the arenas its parent knows at its start
    (`exported`, `adopt`); ``multiprocessing.Process`` takes the descriptors along in the
    pickle; a fork inherits them. On Linux who was never given an arena borrows it from who sent
    the pickle, while that one lives: another interpreter of this process only its memory; of
    the lock file it must not close a descriptor of its own.

An arena ends with the last process that has it open.
"""

from __future__ import annotations

import atexit
import itertools
import os
import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from workpool._compat import RLock, in_main_interpreter
from workpool.ipc import lives, nameless
from workpool.ipc.outliving import never_freed
from workpool.ipc.room import Room
from workpool.ipc.shortage import is_shortage

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Arena", "adopt", "exported", "lock", "own_arena"]

# Guards what follows and the insides of every arena; held across a fork (see `memory`). A signal's handler,
# or a finalizer, may come by in the middle: what is made outside of one step is looked for again before it is noted.
lock = RLock()
_arenas: WeakValueDictionary[str, Arena] = WeakValueDictionary()
_kept: list[Arena] = []  # made here or given to us: these live as long as the process
_own: Arena | None = None
_spare_locks_fds: list[int] = []  # never closed: closing one would drop the record locks


class Arena:
    """One anonymous file of memory and one of record locks.

    Parameters
    ----------
    token : str
        Names the arena in all processes.
    memory_fd, locks_fd : int
        The two files; the descriptors are this object's from now on, but for another interpreter's lock file.
    maker : int
        Who hands out its regions: this process (its id), another (0), another interpreter (-1).
    """

    def __init__(self, token: str, memory_fd: int, locks_fd: int, *, maker: int = 0) -> None:
        self.token = token
        self.memory_fd = memory_fd
        self.locks_fd = locks_fd
        self.maker = maker
        self.files = _Files(token, memory_fd, -1 if maker < 0 else locks_fd)
        self.left = False  # somebody else may know it
        self.room = Room(memory_fd)
        self.uids = itertools.count(1)  # what marks its regions

    def __repr__(self) -> str:
        return f"<Arena {self.token} memory_fd={self.memory_fd} ours={self.ours}>"

    def __reduce__(self) -> tuple[object, ...]:
        self.left = True
        context = sys.modules.get("multiprocessing.context")
        if context is not None and context.get_spawning_popen() is not None:
            # A process is being started and takes this pickle along: descriptors go with it.
            from multiprocessing.reduction import DupFd

            return _receive, (self.token, DupFd(self.memory_fd), DupFd(self.locks_fd))
        return _find, (self.token, os.getpid(), self.memory_fd, self.locks_fd)

    @property
    def ours(self) -> bool:
        """Whether this process made the arena; a forked child did not."""
        return self.maker == os.getpid()


class _Files:
    """The descriptors of an arena, which are closed with it.

    An object of their own, so that an arena has no finalizer: while one runs, a weak reference still gives
    the object, and who unpickles something in another thread would get files that are just being closed.
    """

    __slots__ = ("locks_fd", "memory_fd", "token")

    # At the end of an interpreter, while its process goes on, the names of the modules are gone before.
    _close = staticmethod(os.close)
    _staying = lives.kept

    def __init__(self, token: str, memory_fd: int, locks_fd: int) -> None:
        self.token = token
        self.memory_fd = memory_fd
        self.locks_fd = locks_fd  # -1: not ours to close

    def __del__(self) -> None:
        fds = [self.memory_fd]
        if self.locks_fd >= 0 and self._staying.get(self.token) != self.locks_fd:
            fds.append(self.locks_fd)
        for fd in fds:
            try:
                self._close(fd)
            except OSError:
                pass  # closed by someone else


def exported() -> list[tuple[str, int]]:
    """List what a new process needs to reach the shared objects known here.

    The arena of this process is among them, made now if need be: objects made later reach workers started earlier.

    Returns
    -------
    list of (str, int)
        Pairs of a name and a file descriptor, to be handed to `adopt` with the
        descriptors as they are numbered there. The descriptors stay ours.
    """
    with lock:
        own_arena()
        return [
            pair
            for arena in _kept
            for pair in ((arena.token, arena.memory_fd), (f"{arena.token}.locks", arena.locks_fd))
        ]


def adopt(pairs: Iterable[tuple[str, int]]) -> None:
    """Take over the arenas that another process `exported`.

    Parameters
    ----------
    pairs : iterable of (str, int)
        The names as exported, and the descriptors as numbered here; they belong to this module from now on.
    """
    fds = dict(pairs)
    for token in fds.keys() - {f"{token}.locks" for token in fds}:
        _keep(token, fds[token], fds[f"{token}.locks"])


def own_arena() -> Arena:
    """Return this process's arena, made at first use; `lock` is held."""
    global _own  # noqa: PLW0603 - one a process, guarded by lock
    if _own is None or not _own.ours:
        token = f"{os.getpid()}-{os.urandom(6).hex()}"
        memory_fd = nameless.make(f"workpool-{token}")
        try:
            locks_fd = nameless.make(f"workpool-{token}.locks")
        except BaseException:
            os.close(memory_fd)
            raise
        arena = _arenas[token] = Arena(token, memory_fd, locks_fd, maker=os.getpid())
        _kept.append(arena)
        _own = arena  # or one more, if a handler has made one in the middle of this; both are good
    return _own


def _keep(token: str, memory_fd: int, locks_fd: int) -> Arena:
    """Register an arena that was given to this process, for as long as it lives."""
    for fd in (memory_fd, locks_fd):
        os.set_inheritable(fd, False)
    with lock:
        arena = _arenas.get(token)
        if arena is not None:  # maybe with these very descriptors, in a forked worker
            if memory_fd != arena.memory_fd:
                os.close(memory_fd)
            if locks_fd != arena.locks_fd:
                _spare_locks_fds.append(locks_fd)
            if arena not in _kept:
                _kept.append(arena)
            return arena
        arena = _arenas[token] = Arena(token, memory_fd, locks_fd)
        _kept.append(arena)
        return arena


def _receive(token: str, memory: Any, locks: Any) -> Arena:
    """Unpickle an arena in a process that multiprocessing has just started."""
    return _keep(token, memory.detach(), locks.detach())


def _find(token: str, sender: int, memory_fd: int, locks_fd: int) -> Arena:
    """Unpickle an arena: one that is known here, or else the sender's."""
    with lock:
        arena = _arenas.get(token)
        if arena is None:
            try:
                arena = _borrow(token, sender, memory_fd, locks_fd)
            except OSError as error:
                if is_shortage(error) or error.errno is None:
                    raise  # later it may do; what has struck from outside has no number
                from workpool.errors import SharedStateLost  # a worker is ready sooner without it

                message = (
                    f"shared memory {token} never reached process {os.getpid()}, and process {sender}, which sent it, "
                    f"does not lend it ({error}). Make shared objects in the process that starts the workers, "
                    "or pass them to a worker when it starts (initargs)."
                )
                raise SharedStateLost(message) from None
            first = _arenas.setdefault(token, arena)
            if first is not arena:  # a handler has borrowed it in the middle of this
                if arena.files.locks_fd >= 0:
                    _spare_locks_fds.append(arena.locks_fd)
                    arena.files.locks_fd = -1
                return first
        return arena


def _borrow(token: str, sender: int, memory_fd: int, locks_fd: int) -> Arena:
    """Open an arena's files through the process that sent the pickle."""
    memory = nameless.borrow(sender, memory_fd, f"workpool-{token}")
    if sender == os.getpid():
        return Arena(token, memory, locks_fd, maker=-1)
    if token in lives.kept:  # borrowed before
        return Arena(token, memory, lives.kept[token])
    try:
        locks = nameless.borrow(sender, locks_fd, f"workpool-{token}.locks")
    except BaseException:
        os.close(memory)
        raise
    return Arena(token, memory, locks)


def _outlive_the_interpreter() -> None:
    """Have what is mapped stay: the kernel frees the locks that a process owns as far as it finds them at its end."""
    for arena in list(_arenas.values()):
        never_freed(arena.room)


if in_main_interpreter():  # the process goes on after the others
    atexit.register(_outlive_the_interpreter)
