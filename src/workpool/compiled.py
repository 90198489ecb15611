"""Functions in C and in Python, and how many calls of either are made at once. This loads little.

A loop in C (``map``, ``starmap``) takes a StopIteration of the function for the end of its input, and drops
what it says.
"""

from __future__ import annotations

from types import BuiltinFunctionType, MethodDescriptorType
from typing import TYPE_CHECKING, Any

from workpool.traces import begin_below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["heard", "is_in_c"]


def is_in_c(fn: Callable[..., Any]) -> bool:
    """Tell whether a function runs no code of its user's, and so is best called by a loop in C.

    A function in Python is called as fast from a loop in Python, which hears a StopIteration.
    """
    kind = type(fn)
    if kind is type:
        return fn.__module__ == "builtins"
    return kind in (BuiltinFunctionType, MethodDescriptorType) and fn is not next


def heard(
    fn: Callable[..., Any], items: Iterable[Any], star: bool, stop: list[StopIteration]
) -> Iterator[Any]:
    """Call a function with each item, by a loop in Python; a StopIteration of it ends that, and is put into a list."""
    try:
        if star:
            for item in items:
                yield fn(*item)
        else:
            for item in items:
                yield fn(item)
    except StopIteration as error:
        stop.append(begin_below(error))
