"""Asking something of the Linux kernel for this very process (``prctl``), in the first millisecond of its life.

``ctypes`` takes longer to load than a worker needs for all else that it does until then. So the
call is made with the three functions of C that ``ctypes`` itself makes it with, where they are.
"""

from __future__ import annotations

from typing import Any, cast

from workpool._compat import LINUX

__all__ = ["prctl"]


def prctl(option: int, argument: int) -> bool:
    """Make the call; False if the kernel said no, or there is none to ask."""
    if not LINUX:
        return False
    try:
        return not _call(option, argument, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return False


def _call(*arguments: int) -> int:
    try:
        import _ctypes as c

        return int(c.call_function(c.dlsym(c.dlopen(cast("Any", None), 0), "prctl"), arguments))
    except (ImportError, AttributeError):  # no promise of the interpreter
        import ctypes

        function: Any = ctypes.CDLL(None).prctl
        return int(function(*arguments))
