"""Ctrl-C at a chosen moment of a call that this thread makes, and other things done at such moments.

The interpreter raises the exception of a signal where a Python function begins, and where
a function in C has returned: these are the moments. They are counted in the files of the library, and in those of
the standard library that its threads may meet at a lock: what is struck there leaves locks behind as well.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import _base
from pathlib import Path
from typing import Any

import workpool
from workpool import midway

__all__ = ["at_moment", "interrupted_at"]

OURS = str(Path(workpool.__file__).parent)
_LOOKS_AROUND = midway.held_here.__code__
_THEIRS = frozenset({str(threading.__file__), str(_base.__file__)})


def at_moment(
    number: int,
    call: Callable[[], object],
    act: Callable[[Any], object],
    *,
    theirs: bool = True,
) -> bool:
    """Make a call, and at that moment of it ``act(frame)``; False if it has fewer."""
    others = _THEIRS if theirs else frozenset[str]()
    left = number
    me = threading.get_ident()

    def look(frame: Any, event: str, _: object) -> None:
        nonlocal left
        if event not in {"call", "c_return"} or threading.get_ident() != me:
            return
        if event == "c_return" and frame.f_code is _LOOKS_AROUND:
            return  # as many as there are pools that nobody has collected yet: the next number might never pass them
        name = frame.f_code.co_filename
        if name.startswith(OURS) or name in others:
            left -= 1
            if left == -1:
                act(frame)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(before)
    return left < 0


def interrupted_at(
    number: int,
    call: Callable[[], object],
    at_that_moment: Callable[[], object] = int,
    *,
    theirs: bool = True,
    by: int = signal.SIGINT,
) -> bool:
    """Make a call that hears Ctrl-C, or another signal, at that moment; False if it has fewer.

    At the moment that is meant, just before the exception is raised, another call may be made.
    One that begins threads is not for the moments of the standard library (``theirs``): this
    thread may have a lock of ``threading`` just then.
    """
    struck = False

    def strike(frame: Any) -> None:
        nonlocal struck
        struck = True
        at_that_moment()
        handler = signal.getsignal(by)
        assert callable(handler)
        handler(by, frame)

    try:
        at_moment(number, call, strike, theirs=theirs)
    except (KeyboardInterrupt, SystemExit):
        pass
    return struck
