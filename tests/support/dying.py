"""Processes that are killed at a place a test names: at a line of the library, or where they ask for it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Container
from typing import Any

__all__ = ["die", "killed_at_line"]


def die() -> None:
    """End this process at once, as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at_line(
    number: int,
    call: Callable[[], object],
    *,
    files: Container[str | None],
    before: Callable[[], object] | None = None,
) -> bool:
    """Make a call in a forked child that is killed before it runs a certain line.

    Lines are counted from the call's begin, as they run, in these files. What the
    child does `before` is not counted.

    Returns
    -------
    bool
        False if there are not so many lines: the child has survived the call.
    """
    child = os.fork()
    if not child:
        left = number

        def trace(frame: Any, event: str, _: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename not in files:
                return None
            if event == "line":
                left -= 1
                if left < 0:
                    die()
            return trace

        try:
            if before is not None:
                before()
            sys.settrace(trace)
            call()
            sys.settrace(None)
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, -signal.SIGKILL}
    return code != 0
