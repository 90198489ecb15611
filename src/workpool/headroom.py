"""How much of the stack is left: a step that runs out of it in the middle would stay half done.

User code may call from as deep as Python allows, and callbacks may call each other.
"""

from __future__ import annotations

import sys

__all__ = ["ensure_headroom", "stack_is_deep"]

_DEEP = 0.6  # of the frames that Python allows
_ENOUGH = 40  # frames, for any step of ours


def stack_is_deep() -> bool:
    """Tell whether most of the frames that Python allows are used: the rest is for a task's own calls."""
    try:
        sys._getframe(int(_DEEP * sys.getrecursionlimit()))
    except ValueError:
        return False
    return True


def ensure_headroom(frames: int = _ENOUGH) -> None:
    """Raise the RecursionError here, where nothing is begun yet, if there are too few frames for a step of ours."""
    if frames:
        ensure_headroom(frames - 1)
