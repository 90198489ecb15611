"""A file of memory that has no name: made, lengthened, mapped, and lent to another process.

On Linux the kernel makes it (``memfd_create``); elsewhere it is a temporary
file that is unlinked at once. Either way nothing is left when its last user
ends, however that one ends.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from typing import Any

from workpool._compat import LINUX, WINDOWS

__all__ = ["MEMFD", "borrow", "grow", "make", "map_part", "map_shared", "release"]

MEMFD = LINUX and hasattr(os, "memfd_create")
# Without this, every mapping keeps a descriptor of its own.
_MAP_OPTIONS: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
_PIECE = 1 << 26  # bytes


def make(name: str) -> int:
    """Open a new file that ends with its last user; `name` shows in ``/proc`` at most."""
    if WINDOWS:
        from workpool.errors import Unsupported

        message = (
            'scope="process" needs POSIX shared memory, which Windows has not. Use scope="thread".'
        )
        raise Unsupported(message)
    if MEMFD:
        return os.memfd_create(name)
    import tempfile  # slow to load, and needed on few systems

    # A kill between these two lines leaves an empty file behind.
    fd, path = tempfile.mkstemp(prefix=name)
    os.unlink(path)
    return fd


def borrow(pid: int, fd: int, name: str) -> int:
    """Open the file that process `pid` has open as `fd`, if that is the one made as `name`.

    Raises
    ------
    OSError
        The process is gone, or is not ours to ask, or this system has no such way.
    """
    if not MEMFD:
        raise OSError(errno.ENOTSUP, "this system cannot lend open files")
    path, target = f"/proc/{pid}/fd/{fd}", f"/memfd:{name} (deleted)"
    # The process may have died and its number be taken: look before opening, and after.
    if os.readlink(path) == target:
        mine = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if os.readlink(f"/proc/self/fd/{mine}") == target:
            return mine
        os.close(mine)
    raise OSError(errno.ESTALE, "that descriptor is another file now")


def grow(fd: int, offset: int, size: int) -> None:
    """Put memory behind a part of the file, and lengthen the file if need be.

    Never shrinks it, so any number of processes may do this at once, and a kill
    in here leaves a longer file, which is harmless. New bytes are zero.

    Raises
    ------
    OSError
        There is no memory left; without this, the first store would be a SIGBUS.
    """
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, offset, size)
        elif os.fstat(fd).st_size < offset + size:
            os.pwrite(fd, b"\0", offset + size - 1)  # its last byte: no one uses it yet
    except OSError as error:
        if error.errno is None:  # what strikes from outside, as the end of a time limit does
            raise
        message = f"no room for {size} more bytes of shared memory: {error.strerror}"
        if error.errno == errno.EFBIG:
            message += (
                ". A file may not be longer here (ulimit -f), and queues and shared values between processes take "
                "many GiB of addresses in one, if not of memory"
            )
        raise OSError(error.errno, message) from error


def map_shared(fd: int, offset: int, size: int) -> mmap.mmap:
    """Map a part of the file, which must be that long (else ValueError)."""
    return mmap.mmap(fd, size, offset=offset, **_MAP_OPTIONS)


def map_part(fd: int, offset: int, size: int) -> memoryview[int]:
    """Look at a part of the file, which is mapped as long as anybody does."""
    return memoryview(map_shared(fd, offset, size))


def release(fd: int, offset: int, size: int) -> None:
    """Give memory back to the system, where it takes it: whole pages, which read as zero then."""
    size = min(size, os.fstat(fd).st_size - offset) // mmap.PAGESIZE * mmap.PAGESIZE
    if size <= 0 or not hasattr(mmap, "MADV_REMOVE") or _remove(fd, offset, size):
        return
    # It may be more than this process may map (ulimit -v): a reserve is, mostly empty as it is.
    end = offset + size
    for start in range(offset, end, _PIECE):
        _remove(fd, start, min(_PIECE, end - start))


def _remove(fd: int, offset: int, size: int) -> bool:
    try:
        with mmap.mmap(fd, size, offset=offset, **_MAP_OPTIONS) as pages:
            pages.madvise(mmap.MADV_REMOVE)
    except OSError as error:
        if error.errno is None:  # as above
            raise
        return False
    return True
