"""A descriptor that becomes readable after a while: an alarm for a thread that sleeps on descriptors.

Any thread may set it anew or stop it, and so decide for how long another sleeps
without waking it. Linux has such descriptors (``timerfd``), and only there can this
be imported; Python calls them by name from 3.13 on, and through ctypes before.
Elsewhere whoever would set an alarm lets the sleeper watch what it would have left out.
"""

from __future__ import annotations

import os
import sys
import time

__all__ = ["Alarm", "have_alarms"]

if sys.version_info >= (3, 13):
    _settime = os.timerfd_settime

    def _create() -> int:
        return os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

    def _set(fd: int, seconds: float) -> None:
        _settime(fd, initial=seconds)

else:
    import ctypes

    class _Spec(ctypes.Structure):
        _fields_ = (
            ("interval_seconds", ctypes.c_long),
            ("interval_nanoseconds", ctypes.c_long),
            ("seconds", ctypes.c_long),
            ("nanoseconds", ctypes.c_long),
        )

    # With the interpreter's lock held: both calls are short, and giving it up costs more than they do.
    _libc = ctypes.PyDLL(None, use_errno=True)
    _TFD_NONBLOCK, _TFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC

    def _create() -> int:
        fd = _libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return int(fd)

    def _set(fd: int, seconds: float) -> None:
        whole = int(seconds)
        spec = _Spec(0, 0, whole, int((seconds - whole) * 1e9))
        if _libc.timerfd_settime(fd, 0, ctypes.byref(spec), None) < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


def have_alarms() -> bool:
    """Tell whether this C library has them."""
    return sys.version_info >= (3, 13) or hasattr(_libc, "timerfd_create")


class Alarm:
    """Rings once, so many seconds after it was set last.

    Raises
    ------
    OSError
        The system has no descriptor to give.
    """

    __slots__ = ("fd",)

    def __init__(self) -> None:
        self.fd = _create()

    def set(self, seconds: float) -> None:
        """Have it ring after so many seconds, instead of any earlier setting; 0.0: not at all."""
        _set(self.fd, seconds)

    def stop(self) -> None:
        """Have it not ring, and be silent if it has."""
        _set(self.fd, 0.0)

    def close(self) -> None:
        """Give back the descriptor."""
        os.close(self.fd)
