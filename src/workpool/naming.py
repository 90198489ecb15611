"""What a function is called, in messages and in lists. A module of its own, which loads nothing."""

from __future__ import annotations

__all__ = ["function_name"]


def function_name(fn: object) -> str:
    """Name a function for messages; a partial is named for what it wraps."""
    name = getattr(fn, "__qualname__", None)
    while name is None and (fn := getattr(fn, "func", None)) is not None:
        name = getattr(fn, "__qualname__", None)
    return name if isinstance(name, str) else type(fn).__qualname__
