"""Context variables that reach the task: taken along at the call, set while the task runs.

In the same process a context is an object: a copy of it is entered for each task, so that
nothing a task sets is seen by another, nor at a second attempt.

To a process go the variables themselves, one by one, as ``ipc/variables.py`` says. The value
is pickled apart from the task, so that one that cannot be harms nothing else. Where
all are wanted, what has no name or no pickle stays behind; where they are listed, that is an error.

OpenTelemetry keeps what it knows in one variable, as objects with locks, under keys that
differ from process to process. It has its own way to travel, a carrier of headers, which
is taken for it.
"""

from __future__ import annotations

import contextvars
import importlib
import sys
from collections.abc import Callable, Iterable
from contextvars import Context, ContextVar
from typing import Any, Literal, TypeAlias, cast

from workpool.calm import is_ctrl_c
from workpool.errors import NotPicklable
from workpool.ipc import pickling
from workpool.ipc.variables import NOWHERE, Place, dict_of, found, place_of

__all__ = ["Arrived", "Asked", "Carried", "Wanted", "checked", "taken"]

OPENTELEMETRY = "opentelemetry"
#: Which variables go along: none, all, or these.
Asked: TypeAlias = "bool | Iterable[ContextVar[Any] | Literal['opentelemetry']]"
Wanted: TypeAlias = "bool | tuple[ContextVar[Any] | Literal['opentelemetry'], ...]"  # checked

Entry: TypeAlias = tuple[Place, bytes]  # and the pickle of the value


def checked(wanted: Any) -> Wanted:
    """Check what ``context=`` was given."""
    if wanted is None or isinstance(wanted, bool):
        return bool(wanted)
    if not isinstance(wanted, Iterable) or isinstance(wanted, str):
        message = f"context is True, False, or a list of context variables; got {wanted!r}"
        raise TypeError(message)
    variables = tuple(cast("Iterable[Any]", wanted))  # type: ignore[redundant-cast]  # not to pyright
    for variable in variables:
        if not isinstance(variable, ContextVar) and variable != OPENTELEMETRY:
            message = f'context is a list of ContextVar objects, or "{OPENTELEMETRY}"; got {variable!r} in it'
            raise TypeError(message)
    return variables


def taken(wanted: Wanted) -> Carried:
    """Take along what is wanted of the caller's context."""
    here = contextvars.copy_context()
    if wanted is True:
        return Carried(here, None)
    assert not isinstance(wanted, bool)  # asked for only when something is wanted
    return Carried(here, wanted)


class Carried:
    """A context as it was at the call, in the process where it was made."""

    __slots__ = ("_context", "_listed")

    def __init__(
        self,
        context: Context,
        listed: tuple[ContextVar[Any] | Literal["opentelemetry"], ...] | None,
    ) -> None:
        self._listed = listed
        self._context = context if listed is None else _only(context, listed)

    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function in it; what it sets there is gone afterwards."""
        return self._context.copy().run(fn, *args, **kwargs)

    def __reduce__(self) -> tuple[object, ...]:
        entries: list[Entry] = []
        for variable, value in self._context.items():
            place = place_of(variable)
            if place is None or place.module.partition(".")[0] == OPENTELEMETRY:
                if self._listed is not None and place is None:
                    raise _cannot(variable, NOWHERE)
                continue
            try:
                entries.append((place, pickling.dumps(value)))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                if self._listed is not None:
                    raise _cannot(variable, f"{type(error).__name__}: {error}") from error
        return Arrived, (entries, self._headers(), self._listed is not None)

    def _headers(self) -> dict[str, str]:
        """Have OpenTelemetry write down what it knows."""
        headers: dict[str, str] = {}
        if "opentelemetry.context" in sys.modules:
            self._context.copy().run(_of("opentelemetry.propagate", "inject"), headers)
        return headers


class Arrived:
    """What came out of a context, in the process where the task runs."""

    __slots__ = ("_entries", "_headers", "_strict")

    def __init__(self, entries: list[Entry], headers: dict[str, str], strict: bool) -> None:
        self._entries = entries
        self._headers = headers
        self._strict = strict

    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function with the variables set; they are as before afterwards."""
        return contextvars.copy_context().run(self._enter, fn, args, kwargs)

    def _enter(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        for place, data in self._entries:
            try:
                variable = found(place)
                value = pickling.loads(data)
            except BaseException as error:
                if is_ctrl_c(error):
                    raise
                if not self._strict:
                    continue
                message = (
                    f"context variable {place.module}.{place.attribute} arrived but cannot be set in this process: "
                    f"{type(error).__name__}: {error}"
                )
                raise NotPicklable(message, part="context") from error
            variable.set(value)
        if self._headers:
            known = _of("opentelemetry.propagate", "extract")(self._headers)
            _of("opentelemetry.context", "attach")(known)
        return fn(*args, **kwargs)


def _only(
    context: Context, listed: tuple[ContextVar[Any] | Literal["opentelemetry"], ...]
) -> Context:
    """Make a context of these variables, as far as they have a value."""
    chosen = Context()
    for variable in listed:
        each = _opentelemetrys() if isinstance(variable, str) else variable
        if each is not None and each in context:
            chosen.run(each.set, context[each])
    return chosen


def _cannot(variable: ContextVar[Any], why: str) -> NotPicklable:
    return NotPicklable(
        f"context variable {variable.name!r} cannot go to a worker: {why}. Leave it out of the list, keep it "
        "in a global of a module, or give it a value that can be pickled.",
        part="context",
    )


def _opentelemetrys() -> ContextVar[Any] | None:
    """Give the variable in which OpenTelemetry keeps its context."""
    _of("opentelemetry.context", "get_current")()  # which makes it, at first
    kept: dict[str, Any] = dict_of(_of("opentelemetry.context", "_RUNTIME_CONTEXT")) or {}
    found: list[ContextVar[Any]] = [
        value for value in kept.values() if isinstance(value, ContextVar)
    ]
    return found[0] if found else None


def _of(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
