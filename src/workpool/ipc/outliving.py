"""Objects that the end of the interpreter leaves alone, as the end of the process finds what they hold then."""

from __future__ import annotations

import ctypes

__all__ = ["never_freed"]


def never_freed(thing: object) -> None:
    """Have an object live as long as the process, whoever lets go of it."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
