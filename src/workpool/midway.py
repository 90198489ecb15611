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
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["held_here", "known"]

# What tells whether the thread that calls holds a lock, by who has that lock. No lock guards it, for a finalizer
# may come at any moment: each change and each copy is one step.
_owned: dict[object, Callable[[], bool]] = {}


def known(lock: Any, owner: object = None) -> Any:
    """Have a reentrant lock count as one of ours, as long as it lives, or its owner; gives it back.

    One that is part of a cycle has an owner, or it would be asked until the collector comes.
    """
    if owner is None:
        key = weakref.ref(lock, _owned.pop)
        _owned[key] = partial(_owns, key)
    else:
        _owned[weakref.ref(owner, _owned.pop)] = lock._is_owned
    return lock


def _owns(ref: weakref.ref[Any]) -> bool:
    lock = ref()
    return lock is not None and bool(lock._is_owned())


if hasattr(os, "register_at_fork"):
    # In a child a new thread may have the number of one that is not here, and held a lock.
    os.register_at_fork(after_in_child=_owned.clear)


def held_here() -> bool:
    """Tell whether this very thread holds a known lock."""
    return any(is_owned() for is_owned in list(_owned.values()))
