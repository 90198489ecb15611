"""Anonymous memory that every process of a family sees, and that leaves no name behind.

Each object takes a *region* of its process's arena (``arenas.py``), which is found again in
the other processes by the arena and the place in it.

When a region is given back
    Only when no other process can know of it: it was never pickled, no fork
    happened since it was made, and the object that owns it is gone. A region
    that did leave stays until the arena ends. Counting the users would not
    help: a pickle on its way, or a killed process, has no count to give back.
    Whoever knows better, such as a pool whose worker has ended, says so with
    `Region.give_back`; a mark in front of every region catches the pickle that
    turns up afterwards.

What a kill leaves behind
    A kill in `allocate` ends the only one that would have noticed. The file only grows.
"""

from __future__ import annotations

import os
import struct

from workpool.ipc import nameless
from workpool.ipc.arenas import Arena, adopt, exported, lock, own_arena
from workpool.ipc.outliving import never_freed
from workpool.ipc.room import LINE, round_up

__all__ = ["SPARE_LIMIT", "Arena", "Region", "adopt", "allocate", "exported"]

#: Most address space that one region may keep in reserve. On a real file system
#: the file must stay below the largest offset that it can hold (16 TiB on ext4).
SPARE_LIMIT = 1 << 35 if nameless.MEMFD else 1 << 31

_staying: dict[tuple[str, int], memoryview[int]] = {}
_forks = 0  # forks so far; a region made before the last one is known to a child


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
        try:
            if self.private:
                self._drop()
        except (AttributeError, TypeError):
            pass  # half made, or an interpreter on its way out

    @property
    def private(self) -> bool:
        """Whether no other process can know it."""
        return self._born == _forks and not self._left

    def stay(self) -> None:
        """Leave it as it is, and mapped, until the process ends."""
        self._left = True
        key = self.arena.token, self.offset
        if _staying.setdefault(key, self.view) is self.view:
            never_freed(self.view)

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
    with lock:
        arena = own_arena()
        offset = arena.room.find(_length(size))
        spare_at = arena.room.reserve(spare) if spare else 0
        region = Region(arena, offset, size, next(arena.uids), (spare_at, spare))
        region.mark(region.uid)
        return region


def _attach(arena: Arena, offset: int, size: int, uid: int, spare: tuple[int, int]) -> Region:
    """Unpickle a region."""
    try:
        with lock:
            region = Region(arena, offset, size, uid, spare, left=True)
    except ValueError:  # past the end of the file
        region = None
    if region is None or not region.marked():
        from workpool.errors import SharedStateLost  # a worker is ready sooner without it

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
    global _forks  # noqa: PLW0603 - guarded by `lock`, which is held across the fork
    lock.acquire()
    _forks += 1


if hasattr(os, "register_at_fork"):
    # Regions are made under `lock`: before the fork, or after it and unknown to the child.
    os.register_at_fork(
        before=_before_fork, after_in_parent=lock.release, after_in_child=lock.release
    )
