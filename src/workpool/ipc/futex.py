"""Wait until a 32-bit word in shared memory changes, and wake those who wait.

On Linux the kernel does it (``futex``): a waiter sleeps until someone wakes it,
in whatever process. Elsewhere a waiter looks at the word again and again, at
first every half millisecond, later every ten: it costs little and is late by
that much.

What a kill leaves behind: who changes a word and dies before the wake leaves
sleepers behind. So no sleep is longer than `SLICE`; the waiter looks again
after it. That also bounds how long a Ctrl-C can go unnoticed.
"""

from __future__ import annotations

import ctypes
import os
import time
from typing import TYPE_CHECKING

from workpool._compat import LINUX

if TYPE_CHECKING:
    from workpool.ipc.memory import Region

__all__ = ["SLICE", "Word"]

SLICE = 0.2  # seconds; the longest sleep without a look at the word

_WAIT, _WAKE = 0, 1
_EVERYONE = 2**31 - 1
_FIRST_NAP, _LONGEST_NAP = 0.0005, 0.01

# The number of the system call; only where a C long has 64 bits, as the timeout has.
_NUMBERS = {
    "x86_64": 202,
    "aarch64": 98,
    "riscv64": 98,
    "loongarch64": 98,
    "ppc64le": 221,
    "s390x": 238,
}


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_int64))


def _system_call() -> tuple[int, ctypes.CDLL] | None:
    """Find the futex call of this system, if it has one that is known here."""
    if not LINUX or ctypes.sizeof(ctypes.c_long) != ctypes.sizeof(ctypes.c_int64):
        return None
    number = _NUMBERS.get(os.uname().machine)
    return None if number is None else (number, ctypes.CDLL(None))


_FUTEX = _system_call()


class Word:
    """A 32-bit word in a region that one can wait on.

    Parameters
    ----------
    region : Region
        Where it lies.
    offset : int
        Where in the region's view; a multiple of 4.
    """

    __slots__ = ("_address", "_cell", "_keep", "_region", "_offset")

    def __init__(self, region: Region, offset: int) -> None:
        self._region = region
        self._offset = offset
        view = region.view[offset : offset + 4]
        self._cell = view.cast("I")
        self._keep = ctypes.c_uint32.from_buffer(
            view
        )  # holds the mapping that the address points into
        self._address = ctypes.c_void_p(ctypes.addressof(self._keep))

    def __reduce__(self) -> tuple[object, ...]:
        return Word, (self._region, self._offset)

    @property
    def value(self) -> int:
        """What the word says now: one load, whole."""
        return self._cell[0]

    @value.setter
    def value(self, value: int) -> None:
        # One aligned store, so a kill leaves the old value or the new one. Wakes no one.
        self._cell[0] = value & 0xFFFFFFFF

    def wait(self, seen: int, timeout: float | None = None) -> bool:
        """Wait while the word is still `seen`.

        Parameters
        ----------
        seen : int
            The value last read: when it is another one already, there is no wait.
        timeout : float or None, seconds
            Longest wait; ``None`` waits for ever, ``0`` only looks.

        Returns
        -------
        bool
            Whether the word is another one now.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        nap = _FIRST_NAP
        while self._cell[0] == seen:
            left = SLICE if deadline is None else min(SLICE, deadline - time.monotonic())
            if left <= 0:
                return False
            if _FUTEX is None:
                time.sleep(min(nap, left))
                nap = min(2 * nap, _LONGEST_NAP)
            else:
                # Woken, changed meanwhile, interrupted, timed out: in each case the word tells.
                limit = _Timespec(int(left), int(left % 1 * 1e9))
                _call(self._address, _WAIT, seen, ctypes.byref(limit))
        return True

    def wake(self, count: int = _EVERYONE) -> int:
        """Wake up to `count` of those who wait on the word, in any process.

        Returns
        -------
        int
            How many were asleep and are not now; 0 where the system does not tell.
        """
        return 0 if _FUTEX is None else _call(self._address, _WAKE, count, None)


def _call(address: ctypes.c_void_p, operation: int, value: int, limit: object) -> int:
    """Make the system call; it lets other threads run meanwhile."""
    assert _FUTEX is not None
    number, library = _FUTEX
    result: int = library.syscall(
        ctypes.c_long(number),
        address,
        ctypes.c_int(operation),
        ctypes.c_uint32(value),
        limit,
        None,
        ctypes.c_int(0),
    )
    return result
