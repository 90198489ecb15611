"""Whether the very thread that calls is in the middle of a step: then a finalizer or a signal's handler has struck it.

Such user code may use any pool, also another one than that whose lock its thread
holds. Two threads in which that happens crosswise would wait for each other. So a thread
that holds a lock of ours (one that is *known* here) never waits for a pool's lock: what
finds that one taken is put off (``scheduling/later.py``), or refused (`errors.Midway`).

Guarantee
- Of any circle of threads that wait for each other's known locks, each member holds one
  and waits for another. Nobody does both, so there is none.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["held_here", "known"]

# What tells whether the thread that calls holds a lock, by who has that lock. No lock guards it, for a finalizer
# may come at any moment: each change and each copy is one step.
_owned: dict[object, Callable[[], bool]] = {}


def known(lock: Any, owner: object) -> Any:
    """Have a reentrant lock count as one of ours, as long as its owner lives, who has one; gives it back.

    Of a lock that owns itself that is for ever. One may be part of a cycle, and live until the collector comes.
    """
    _owned[weakref.ref(owner, _owned.pop)] = lock._is_owned
    return lock


if hasattr(os, "register_at_fork"):
    # In a child a new thread may have the number of one that is not here, and held a lock.
    os.register_at_fork(after_in_child=_owned.clear)


def held_here() -> bool:
    """Tell whether this very thread holds a known lock."""
    for is_owned in list(_owned.values()):  # noqa: SIM110 - any() takes twice as long
        if is_owned():
            return True
    return False
