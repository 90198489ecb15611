"""Anonymous memory that every process of a family sees, and that leaves no name behind.

A process that makes shared objects has one *arena*: a file without a name that
grows as needed, and from which each object takes a *region*. Beside it lies a
second, empty file for record locks: POSIX drops all record locks a process has
on a file as soon as that process closes any descriptor of it, and ``mmap``
closes one with every mapping, so the two cannot be the same file.

How a region reaches another process
    Its pickle names the arena by token, and where it lies in there. A worker is given the
    arenas its parent knows at its start (`exported`, `adopt`); ``multiprocessing.Process``
    takes the descriptors along in the pickle; a fork inherits them. On Linux who was never given
    an arena borrows it from who sent the pickle, while that one lives: another interpreter of
    this process only its memory; of the lock file it must not close a descriptor of its own.

When a region is given back
    Only when no other process can know of it: it was never pickled, no fork
    happened since it was made, and the object that owns it is gone. A region
    that did leave stays until the arena ends. Counting the users would not
    help: a pickle on its way, or a killed process, has no count to give back.
    Whoever knows better, such as a pool whose worker has ended, says so with
    `Region.give_back`; a mark in front of every region catches the pickle that
    turns up afterwards. The arena ends with the last process that has it open.

What a kill leaves behind
    A kill in `allocate` ends the only one that would have noticed. The file only grows.
"""

from __future__ import annotations

import itertools
import os
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from workpool._compat import Lock
from workpool.errors import SharedStateLost
from workpool.ipc import lives, nameless
from workpool.ipc.room import LINE, Room, round_up

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SPARE_LIMIT", "Arena", "Region", "adopt", "allocate", "exported"]

#: Most address space that one region may keep in reserve. On a real file system
#: the file must stay below the largest offset that it can hold (16 TiB on ext4).
SPARE_LIMIT = 1 << 35 if nameless.MEMFD else 1 << 31

_lock = Lock()  # guards _arenas, _kept, _own and the insides of every arena
_arenas: WeakValueDictionary[str, Arena] = WeakValueDictionary()
_kept: list[Arena] = []  # made here or given to us: these live as long as the process
_own: Arena | None = None
_spare_locks_fds: list[int] = []  # never closed: closing one would drop the record locks
_forks = 0  # forks so far; a region made before the last one is known to a child


class Arena:
    """One anonymous file of memory and one of record locks.

    Parameters
    ----------
    token : str
        Names the arena in all processes.
    memory_fd, locks_fd : int
        The two files; this object owns the descriptors.
    maker : int
        Who hands out its regions: this process (its id), another (0), another interpreter (-1).
    """

    def __init__(self, token: str, memory_fd: int, locks_fd: int, *, maker: int = 0) -> None:
        self.token = token
        self.memory_fd = memory_fd
        self.locks_fd = locks_fd
        self.maker = maker
        self.left = False  # somebody else may know it
        self.room = Room(memory_fd)
        self._uids = itertools.count(1)

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

    def __del__(self) -> None:
        stays = self.maker < 0 or lives.kept.get(self.token) == self.locks_fd
        for fd in (self.memory_fd, self.locks_fd)[: 1 if stays else 2]:
            with suppress(OSError):
                os.close(fd)

    @property
    def ours(self) -> bool:
        """Whether this process made the arena; a forked child did not."""
        return self.maker == os.getpid()

    def allocate(self, size: int, spare: int) -> Region:
        """Hand out a region; `_lock` is held."""
        offset = self.room.find(_length(size))
        spare_at = self.room.reserve(spare) if spare else 0
        region = Region(self, offset, size, next(self._uids), (spare_at, spare))
        region.mark(region.uid)
        return region


class Region:
    """A piece of an arena: the same bytes in every process that has it.

    Keep it as long as its view is used: then one that never left this process is given back.

    Attributes
    ----------
    arena : Arena
        Where it lies.
    offset, size : int
        What it is in there; `offset` is the same in every process and its own.
    view : memoryview
        Its bytes, zero at first; begins on a cache line.
    """

    __slots__ = ("_born", "_left", "_whole", "arena", "offset", "size", "spare", "uid", "view")

    def __init__(
        self,
        arena: Arena,
        offset: int,
        size: int,
        uid: int,
        spare: tuple[int, int],
        *,
        left: bool = False,
    ) -> None:
        self._born = _forks
        self._left = left
        self.arena = arena
        self.offset = offset
        self.size = size
        self.uid = uid
        self.spare = spare
        self._whole = arena.room.map(offset, _length(size))
        self.view = self._whole[LINE : LINE + size]

    def __repr__(self) -> str:
        return f"<Region {self.arena.token}+{self.offset} size={self.size}>"

    def __reduce__(self) -> tuple[object, ...]:
        self._left = True
        return _attach, (self.arena, self.offset, self.size, self.uid, self.spare)

    def __del__(self) -> None:
        # Finalizers may run in any thread, in the middle of anything: leave a note, no more.
        with suppress(AttributeError, TypeError):  # half made, or an interpreter on its way out
            if self._born == _forks and not self._left:
                self._drop()

    def mark(self, uid: int) -> None:
        """Write the mark that `_attach` looks for."""
        struct.pack_into("=Q", self._whole, 0, uid)

    def marked(self) -> bool:
        """Tell whether the region is still the one that its pickle meant."""
        return struct.unpack_from("=Q", self._whole, 0) == (self.uid,)

    def give_back(self) -> bool:
        """Let the memory be used again: the caller vouches that no one uses it any more.

        Returns
        -------
        bool
            Whether it was given back: only the process that made it can, once.
        """
        if not self.arena.ours or not self.marked():
            return False
        self.mark(0)
        self._left = True  # the finalizer must not do it a second time
        self._drop()
        return True

    def open(self, start: int, size: int) -> memoryview[int]:
        """Map a part of the reserve, with memory behind it.

        Several processes may open parts of one reserve, and parts that others
        opened before. A kill in here leaves a longer file, which is harmless.

        Parameters
        ----------
        start : int
            Where in the reserve; a multiple of the page size.
        size : int
            Bytes wanted.

        Returns
        -------
        memoryview
            Zero where nothing was written; mapped while it is referenced.

        Raises
        ------
        OSError
            There is no memory left, or too many files are open.
        ValueError
            The reserve is smaller than that.
        """
        if start + size > self.spare[1]:
            message = f"open({start}, {size}) goes past the {self.spare[1]} bytes in reserve"
            raise ValueError(message)
        offset = self.spare[0] + start
        nameless.grow(self.arena.memory_fd, offset, size)
        return nameless.map_part(self.arena.memory_fd, offset, size)

    def trim(self, start: int, size: int) -> None:
        """Give the memory of a part of the reserve back to the system; it reads as zero then."""
        size = min(size, self.spare[1] - start)
        nameless.release(self.arena.memory_fd, self.spare[0] + start, size)

    def _drop(self) -> None:
        if self.arena.ours:
            self.arena.room.forget(self.offset, len(self._whole))
            if self.spare[1]:
                self.arena.room.forget(*self.spare)


def allocate(size: int, *, spare: int = 0) -> Region:
    """Take a region of zeroed memory from this process's arena.

    Parameters
    ----------
    size : int
        Bytes of its view.
    spare : int
        Bytes of address space in reserve behind it, for `Region.open` in any process: no memory until then.

    Returns
    -------
    Region
        Picklable; the same memory on the other side.

    Raises
    ------
    OSError
        There is no memory left, or too many files are open.
    ValueError
        A size below 1, or a reserve below 0 or above `SPARE_LIMIT`.
    """
    if size < 1 or not 0 <= spare <= SPARE_LIMIT:
        message = f"size must be at least 1, spare at most {SPARE_LIMIT}; not {size!r}, {spare!r}"
        raise ValueError(message)
    with _lock:
        return _own_arena().allocate(size, spare)


def exported() -> list[tuple[str, int]]:
    """List what a new process needs to reach the shared objects known here.

    The arena of this process is among them, made now if need be: objects made later reach workers started earlier.

    Returns
    -------
    list of (str, int)
        Pairs of a name and a file descriptor, to be handed to `adopt` with the
        descriptors as they are numbered there. The descriptors stay ours.
    """
    with _lock:
        _own_arena()
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


def _own_arena() -> Arena:
    """Return this process's arena, made at first use; `_lock` is held."""
    global _own  # noqa: PLW0603 - one a process, guarded by _lock
    if _own is None or not _own.ours:
        token = f"{os.getpid()}-{os.urandom(6).hex()}"
        memory_fd = nameless.make(f"workpool-{token}")
        try:
            locks_fd = nameless.make(f"workpool-{token}.locks")
        except BaseException:
            os.close(memory_fd)
            raise
        _own = Arena(token, memory_fd, locks_fd, maker=os.getpid())
        _arenas[token] = _own
        _kept.append(_own)
    return _own


def _keep(token: str, memory_fd: int, locks_fd: int) -> Arena:
    """Register an arena that was given to this process, for as long as it lives."""
    for fd in (memory_fd, locks_fd):
        os.set_inheritable(fd, False)
    with _lock:
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
    with _lock:
        arena = _arenas.get(token)
        if arena is None:
            try:
                arena = _borrow(token, sender, memory_fd, locks_fd)
            except OSError as error:
                message = (
                    f"shared memory {token} never reached process {os.getpid()}, and process {sender}, which sent it, "
                    f"does not lend it ({error}). Make shared objects in the process that starts the workers, "
                    "or pass them to a worker when it starts (initargs)."
                )
                raise SharedStateLost(message) from None
            _arenas[token] = arena
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


def _attach(arena: Arena, offset: int, size: int, uid: int, spare: tuple[int, int]) -> Region:
    """Unpickle a region."""
    try:
        with _lock:
            region = Region(arena, offset, size, uid, spare, left=True)
    except ValueError:  # past the end of the file
        region = None
    if region is None or not region.marked():
        message = (
            f"shared memory {arena.token}+{offset} was given back by the process that made it; "
            "keep the object there as long as others use it."
        )
        raise SharedStateLost(message)
    return region


def _length(size: int) -> int:
    """Tell how much a region takes: a line for the mark, then whole lines for the view."""
    return LINE + round_up(size, LINE)


def _before_fork() -> None:
    global _forks  # noqa: PLW0603 - guarded by _lock, which is held across the fork
    _lock.acquire()
    _forks += 1


if hasattr(os, "register_at_fork"):
    # Regions are made under _lock: before the fork, or after it and unknown to the child.
    os.register_at_fork(
        before=_before_fork, after_in_parent=_lock.release, after_in_child=_lock.release
    )
