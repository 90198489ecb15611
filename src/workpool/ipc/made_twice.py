"""Errors whose classes make their texts: whoever unpickles one calls its class with a text that is made already.

Such an error is sent apart, where nothing of it is lost on that way.
"""

from __future__ import annotations

import copyreg
from typing import Any

from workpool.traces import args_of

__all__ = ["is_made_twice"]

_OF_PYTHON = 1 << 9  # a flag of classes that were not there from the beginning
# In what other way a class may say how its errors are pickled, or what they hold.
_OWN_WAYS = {
    "__getstate__",
    "__new__",
    "__reduce__",
    "__reduce_ex__",
    "__setstate__",
    "__slots__",
    "args",
}
_reducers = copyreg.dispatch_table


def is_made_twice(error: BaseException, copy: BaseException) -> bool:
    """Tell whether a copy has other texts, which its ``__init__`` has made of texts, and sent apart would not have."""
    pair: tuple[Any, Any] = error, copy
    if all(isinstance(each, BaseExceptionGroup) for each in pair):
        try:
            return any(map(is_made_twice, *(each.exceptions for each in pair)))
        except RecursionError:
            return False  # so deep: it has arrived, and that must do
    if not _is_nothing_but_args(type(error)):
        return False
    ours, theirs = map(args_of, pair)
    same = all(a == b for a, b in zip(ours, theirs, strict=False) if type(a) is str)
    return not same or len(ours) != len(theirs)


def _is_nothing_but_args(kind: type[BaseException]) -> bool:
    """Tell whether errors of a class hold arguments and attributes alone, and are pickled in the usual way."""
    for base in kind.__mro__[:-1]:
        if base.__flags__ & _OF_PYTHON:
            if not _OWN_WAYS.isdisjoint(base.__dict__):
                return False
        elif base.__basicsize__ != BaseException.__basicsize__:
            return False
    return kind not in _reducers
