"""What the start of a worker process needs, loaded by the thread that makes the pool.

Workers are started by threads of their own, while the program does other things. If it forks while
one of them imports something, the child has a module that is loaded by half, and whose lock is held
by a thread that is not there; so has it every lock of others that such a thread was holding.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from workpool._compat import across_forks

__all__ = ["load_ahead"]

_NEEDED = (
    "_posixsubprocess",
    "multiprocessing.context",
    "multiprocessing.spawn",
    "subprocess",
)


def load_ahead(*more: str) -> None:
    """Load what every start needs and these modules, and have a forked child free of what a start may hold."""
    for name in (*_NEEDED, *more):
        import_module(name)
    tracker: Any = import_module("multiprocessing.resource_tracker")
    across_forks(tracker._resource_tracker._lock)  # Python 3.14 does so itself
