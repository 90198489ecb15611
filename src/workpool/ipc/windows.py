"""Windows into a file of memory, through which its owner copies into it at the speed of memory.

A write to such a file is looked after by the kernel page by page, and takes more than twice as
long as a copy to where the file is mapped. But who stores to a page that the system has no memory
for is ended by it (SIGBUS), where a write only fails. So the pages are asked for before the copy, by a
call that only fails, too. Where there is no such call (before Linux 5.14), it is a write after all.

Other threads run while a large piece is copied.
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import TYPE_CHECKING

from workpool.ipc import nameless

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["WINDOW", "Windows"]

WINDOW = 64 << 20  # bytes that one mapping shows; it counts as ours as long as it is there
_MADV_POPULATE_WRITE = 23  # Linux; in no Python yet
_LARGE = 1 << 18  # bytes: smaller pieces are copied before another thread would have come to run

_all: weakref.WeakSet[Windows] = weakref.WeakSet()


class Windows:
    """What is mapped of one file; each window is made when something is to be copied there.

    Parameters
    ----------
    fd : int
        The file.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        # By number: the mapping, and its address. Each step is one of a dict; two threads that make the
        # same window at once both have one, and one is forgotten.
        self._open: dict[int, tuple[mmap.mmap, int]] = {}
        _all.add(self)

    def copy(self, pieces: Iterable[memoryview], offset: int) -> bool:
        """Copy pieces one after the other; False if some memory could not be had. The file must be long enough."""
        try:
            for piece in pieces:
                done = 0
                while done < len(piece):
                    number, at = divmod(offset, WINDOW)
                    part = piece[done : done + WINDOW - at]
                    self._copy(part, number, at)
                    done += len(part)
                    offset += len(part)
        except (OSError, ValueError) as error:
            from workpool.ipc.strikes import outside

            if outside(error):
                raise
            return False  # no memory, no addresses, no such call; or the file is shorter
        return True

    def close(self) -> None:
        """Map nothing any more; whoever is copying does so to the end."""
        self._open.clear()

    def _copy(self, part: memoryview, number: int, at: int) -> None:
        mapping, address = self._window(number)
        first = at - at % mmap.PAGESIZE
        mapping.madvise(_MADV_POPULATE_WRITE, first, at + len(part) - first)
        if len(part) < _LARGE:
            mapping[at : at + len(part)] = part
            return
        import ctypes

        from workpool.ipc.addresses import address_of

        ctypes.memmove(address + at, address_of(part), len(part))

    def _window(self, number: int) -> tuple[mmap.mmap, int]:
        window = self._open.get(number)
        if window is None:
            from workpool.ipc.addresses import address_of

            mapping = nameless.map_shared(self._fd, number * WINDOW, WINDOW)
            window = self._open[number] = mapping, address_of(memoryview(mapping))
        return window


def _in_child() -> None:
    """In a forked child: let go of what is mapped, or its memory would be kept as long as the child lives."""
    for windows in list(_all):
        windows.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
