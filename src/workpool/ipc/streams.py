"""The numbers of the standard streams, 0 to 2, which nothing of ours may take.

A program may have closed them. The next descriptor that is opened would then have such a
number, and what a task prints would go into a pipe or a journal of ours.
"""

from __future__ import annotations

import os

__all__ = ["occupy_standard_streams"]


def occupy_standard_streams() -> None:
    """Open nothing in particular for each standard stream that is closed; in a process of ours."""
    try:
        while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(fd, True)
        os.close(fd)
    except OSError:
        pass  # a system without such a file, or with no descriptor left, which is told elsewhere
