"""What a function is called, in messages and in lists. A module of its own, which loads nothing else.

A callable may be anything: a proxy that asks another program for each of its attributes, that has another
proxy for each, or that raises. Names are asked for with a pool's lock held, so nothing is looked at
that may run code of the user's.
"""

from __future__ import annotations

from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, cast

from workpool.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StandsFor", "function_name", "plain_function", "visible"]

_MOST = 20  # partials of partials
_func_of: Any = vars(partial)["func"]


class StandsFor:
    """What is called in place of a function, and is named and timed for it."""

    __slots__ = ()

    func: Callable[..., Any]


def function_name(fn: object) -> str:
    """Name a function for messages: a partial for what it wraps, an object that is called for its type."""
    kind = type(fn)
    if kind is FunctionType or kind is BuiltinFunctionType:  # what nearly all are
        function: Any = fn
        known: str = function.__qualname__
        return known
    fn = plain_function(fn)
    kind = type(fn)
    if kind is FunctionType:
        return cast("FunctionType", fn).__qualname__
    name: object = None
    if issubclass(kind, type):
        name = type.__getattribute__(cast("type", fn), "__qualname__")
    elif not _asks_elsewhere(kind):
        name = getattr(fn, "__qualname__", None)
    return str(
        plain(name) if isinstance(name, str) else type.__getattribute__(kind, "__qualname__")
    )


def visible(text: str) -> str:
    """Give a text as a part of one line: what would end the line, or tell the terminal to do something, is escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def plain_function(fn: object) -> object:
    """Give the function behind partials, bound methods and what else stands for one."""
    for _ in range(_MOST):
        kind = type(fn)
        if kind is MethodType:
            fn = cast("MethodType", fn).__func__
        elif issubclass(kind, partial):
            fn = _func_of.__get__(fn)
        elif issubclass(kind, StandsFor):
            fn = cast("StandsFor", fn).func
        else:
            break
    return fn


def _asks_elsewhere(kind: type) -> bool:
    """Tell whether attributes of such objects are looked up by code in Python."""
    for each in type.__getattribute__(kind, "__mro__"):
        known = type.__getattribute__(each, "__dict__")
        if "__getattr__" in known or isinstance(known.get("__getattribute__"), FunctionType):
            return True
    return False
