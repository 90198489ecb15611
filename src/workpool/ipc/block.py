"""A block of anonymous memory for itself: it ends when the last process lets go of it.

What an arena has once given away stays there as long as the arena (``arenas.py``): right
for the few bytes of a lock, wrong for the data of an array. So a block is a file of
its own, without a name. The kernel counts who has it open or mapped, also those that are killed.

How it reaches another process
    Its pickle names the process that made the pickle, and the descriptor there; and the same of the
    process that made the block. Who unpickles it opens either, so one of the two must hold the block
    until then: a pool holds the arguments of a task until the task is done, but what has got
    into a queue or a shared value may outlive whoever put it there. A process that is being
    started takes the descriptor along, unless it is a worker that has many already; a fork inherits it.

Where a process cannot lend its open files, a block is a region of the arena, and stays.

What a kill leaves behind, in ``make``: nothing, the file has no name.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakValueDictionary

from workpool._compat import RLock, across_forks
from workpool.errors import SharedStateLost
from workpool.ipc import memory, nameless
from workpool.ipc.available import available
from workpool.ipc.shortage import is_shortage

if TYPE_CHECKING:
    from workpool.ipc.memory import Region

__all__ = ["Block", "make"]

Place: TypeAlias = "tuple[int, int]"  # a process, and a descriptor there

_lock = across_forks(
    RLock()
)  # guards _blocks; a signal's handler, or a finalizer, may come by in the middle
_blocks: WeakValueDictionary[str, Block] = WeakValueDictionary()  # those of this process


class Block:
    """Memory of a fixed size.

    Parameters
    ----------
    token : str
        What it is known by, in all processes.
    fd : int
        Its file, which belongs to this object from now on, also if it cannot be made.
    size : int
        Its bytes.
    maker : (int, int) or None
        Where it was made: process, and descriptor there. None: it is being made, here.

    Attributes
    ----------
    view : memoryview
        Its bytes, zero at first; mapped as long as it is referenced, longer than the block itself.
    """

    __slots__ = ("__weakref__", "_file", "_maker", "size", "token", "view")

    def __init__(self, token: str, fd: int, size: int, maker: Place | None = None) -> None:
        self.token = token
        self.size = size
        self._maker = maker or (os.getpid(), fd)
        self._file = _File(fd)
        try:
            self.view = nameless.map_part(fd, 0, size)
        except BaseException:
            self._file.close()  # not only when whoever is told of the error has let go of it
            raise

    @property
    def fd(self) -> int:
        """Its file."""
        return self._file.fd

    def __repr__(self) -> str:
        return f"<Block {self.token} size={self.size}>"

    def __reduce__(self) -> tuple[object, ...]:
        context = sys.modules.get("multiprocessing.context")
        popen = None if context is None else context.get_spawning_popen()
        # Whoever starts a worker of ours lives as long as that, and so may lend it.
        if popen is not None and not getattr(popen, "crowded", False):
            # A process is being started and takes this pickle along: the descriptor goes with it.
            from multiprocessing.reduction import DupFd

            return _receive, (self.token, DupFd(self.fd), self.size, self._maker)
        return _find, (self.token, (os.getpid(), self.fd), self.size, self._maker)


class _File:
    """The descriptor of a block, which is closed with it.

    An object of its own, so that a block has no finalizer: while one runs, a weak reference still gives the
    object, and who unpickles the block in another thread would get one whose file is just being closed.
    """

    __slots__ = ("fd",)

    _close = staticmethod(
        os.close
    )  # at the end of an interpreter the names of the modules are gone before

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        try:
            self.close()
        except OSError:
            pass  # closed by someone else

    def close(self) -> None:
        """Close it, once: its number is somebody else's afterwards."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            self._close(fd)


def make(size: int) -> Block | Region:
    """Make a block of zeroed memory, all of which is there.

    Raises
    ------
    OSError
        There is no room for it. Without this, the first store to a page that the system does
        not have would be the end of the process.
    """
    room = available()
    if room is not None and size > room:
        message = f"no room for {size} more bytes of shared memory: about {room} are free"
        raise OSError(errno.ENOMEM, message)
    if not nameless.MEMFD:
        region = memory.allocate(size)
        region.stay()  # a view of it may be kept, and nobody would know
        return region
    token = f"{os.getpid()}-{os.urandom(6).hex()}"
    fd = nameless.make(f"workpool-{token}")
    try:
        nameless.grow(fd, 0, size)
    except BaseException:
        os.close(fd)
        raise
    return _known(token, fd, size)


def _known(token: str, fd: int, size: int, maker: Place | None = None) -> Block:
    """Make a block that is found by its token; the file is the block's, whatever becomes of that."""
    block = Block(token, fd, size, maker)
    with _lock:
        _blocks[token] = block
    return block


def _lookup(token: str) -> Block | None:
    with _lock:
        return _blocks.get(token)


def _receive(token: str, file: Any, size: int, maker: Place) -> Block:
    """Unpickle a block in a process that has just been started."""
    fd = file.detach()
    block = _lookup(token)
    if block is None:
        os.set_inheritable(fd, False)
        return _known(token, fd, size, maker)
    if fd != block.fd:  # in a forked worker it is the very one
        os.close(fd)
    return block


def _find(token: str, sender: Place, size: int, maker: Place) -> Block:
    """Unpickle a block: one that is known here, or else the sender's, or the maker's."""
    block = _lookup(token)
    if block is not None:
        return block
    refused = None
    for place in dict.fromkeys((sender, maker)):
        try:
            fd = nameless.borrow(*place, f"workpool-{token}")
        except OSError as error:
            if is_shortage(error) or error.errno is None:
                raise  # later it may do; what has struck from outside has no number
            refused = refused or str(error)
        else:
            return _known(token, fd, size, maker)
    nor = "" if maker == sender else f", nor does process {maker[0]}, which made it"
    message = (
        f"the memory {token} is not there any more: process {sender[0]}, which sent it, does not lend it to process "
        f"{os.getpid()} ({refused}){nor}. Keep the array in the process that made it as long as others are to get it."
    )
    raise SharedStateLost(message)
