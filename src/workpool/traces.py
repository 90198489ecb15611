"""What every error has, read and written past what its class makes of it. This loads nothing else.

An error may be an object that lets nothing be set (a frozen dataclass), or whose attributes raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "args_of",
    "begin_below",
    "set_args",
    "set_cause",
    "set_context",
    "take_over",
    "trace_of",
]

E = TypeVar("E", bound=BaseException)

_of_any: Any = vars(BaseException)
_traceback, _cause, _context = map(_of_any.get, ("__traceback__", "__cause__", "__context__"))
_suppress, _args = map(_of_any.get, ("__suppress_context__", "args"))


def take_over(error: BaseException, other: BaseException) -> None:
    """Set where an error comes from as another has it: traceback, cause and context."""
    for part in (_traceback, _cause, _context, _suppress):
        part.__set__(error, part.__get__(other))


def trace_of(error: BaseException) -> TracebackType | None:
    """Give the traceback of an error."""
    trace: TracebackType | None = _traceback.__get__(error)
    return trace


def begin_below(error: E, frames: int = 1) -> E:
    """Take the first frames out of an error's traceback, which are ours; gives the error."""
    trace = trace_of(error)
    while trace is not None and frames:
        trace, frames = trace.tb_next, frames - 1
    BaseException.with_traceback(error, trace)
    return error


def set_cause(error: BaseException, cause: BaseException | None) -> None:
    """Set ``__cause__``."""
    _cause.__set__(error, cause)


def set_context(error: BaseException, context: BaseException | None) -> None:
    """Set ``__context__``."""
    _context.__set__(error, context)


def args_of(error: BaseException) -> tuple[Any, ...]:
    """Give ``args``."""
    args: tuple[Any, ...] = _args.__get__(error)
    return args


def set_args(error: BaseException, args: tuple[Any, ...]) -> None:
    """Set ``args``."""
    _args.__set__(error, args)
