"""Functions for tasks that change what they were given."""

from __future__ import annotations

__all__ = ["note_in_second", "note_keyword"]


def note_keyword(**noted: int) -> int:
    """Change the keyword arguments, and count them."""
    return _note(noted)


def note_in_second(pair: tuple[object, dict[str, int]]) -> int:
    """Change what came second, and count it."""
    return _note(pair[1])


def _note(noted: dict[str, int]) -> int:
    noted[str(len(noted))] = 1
    return len(noted)
