"""Values as they travel between processes: exact strings and numbers, without what a subclass adds.

A member of a ``StrEnum`` is a string, and a program may hand it over wherever a string is asked for. What tells
a worker of it (``marshal``) takes exact types only, so it is made plain where it comes in.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["paths", "plain", "words"]


def plain(value: object) -> Any:
    """Give the string or number that a value of a subclass is, by no code of that class; other values as they are."""
    kind = type(value)
    if kind is bool:
        return value
    if issubclass(kind, str):
        return str.__str__(cast("str", value))
    if issubclass(kind, int):
        return int.__int__(cast("int", value))
    if issubclass(kind, float):
        return float.__float__(cast("float", value))
    return value


def paths(entries: Iterable[Any]) -> list[str]:
    """Give what is in a list of places to import from; what names no place is nobody's to look in."""
    found: list[str] = []
    for entry in entries:
        try:
            found.append(plain(os.fsdecode(entry)))
        except Exception:  # noqa: S112 - no path, or one that raises
            continue
    return found


def words(arguments: Iterable[Any]) -> list[Any]:
    """Give the arguments of a program, of which some may have been put there by the program itself."""
    return [
        plain(one) if isinstance(one, (str, int, float)) else plain(str(one)) for one in arguments
    ]
