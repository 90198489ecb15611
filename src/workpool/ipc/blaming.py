"""Who is to blame when something cannot be pickled: which part of the call, and what in it, and why.

Loaded when that happens, and not before.
"""

from __future__ import annotations

import _thread
import dis
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from inspect import Parameter, signature
from typing import Any, cast

from workpool.calm import is_ctrl_c
from workpool.errors import NotPicklable, brief
from workpool.ipc import pickling

__all__ = ["blame", "can_pickle", "locate", "parameter"]

_MOST_LOOKED_AT = 2_000  # objects, in the search for the one at fault
_A_DEAD_END = 40  # of these, for each that was found to be unable only by what it is held by
_DEEPEST = 50
_LONGEST_KEY = 100  # characters of a key that are shown

_WAY_OUT = {
    "function": "Define it at module level",
    "argument": "Pass what the task needs of it",
    "result": "Return what the caller needs of it",
}
# Where a function is at module level already, or would take the same along from there.
_OF_AN_OBJECT = "Make it in the worker, or leave it out of the object's pickle (__getstate__)"
_OF_A_FUNCTION = (
    "Pass what the task needs of it as an argument, or make it in the worker (worker_context)"
)
_OF_A_LOCK = "Pass pool.lock(), which all workers share, as an argument"
_LOCKS = (_thread.LockType, _thread.RLock)  # house: lock - kinds of those that users have
# What runs only where somebody goes through it, or waits for it: in no worker, if it is returned.
_TO_BE_RUN: dict[type, str] = {
    types.GeneratorType: "Return a list of its items.",
    types.CoroutineType: "Submit a function that returns asyncio.run(...) of it.",
}


def blame(
    task: str, part: str, value: Any, label: str, error: BaseException, far: str
) -> NotPicklable:
    """Say which part of which task cannot travel to or from such a place, and why."""
    direction = f"come back from {far}" if part == "result" else f"go to {far}"
    if isinstance(error, NotPicklable) and error.part == "context":
        # What is around the function is ours: the error names what of it is the caller's.
        return NotPicklable(f"{task} cannot {direction}: {error}", part=error.part)
    culprit: object
    try:
        path, culprit = locate(value)
    except (
        BaseException
    ) as failure:  # it asks keys and members for what they are: user code of all kinds
        if is_ctrl_c(failure):
            raise
        path, culprit = "", value
    shown = type(culprit).__qualname__
    where = f" holds a {shown} at {path}" if path else f" ({shown})" if shown != part else ""
    what = f"{part} {label}".rstrip()
    if isinstance(error, NotPicklable):
        why = str(error)  # a thing of ours, which says itself what to do instead
    else:
        way_out = _TO_BE_RUN.get(type(culprit)) if part == "result" else None
        if way_out is None:
            found = _way_out_of(value, path, culprit) if path and part == "function" else None
            way_out = f'{found or _WAY_OUT[part]}, or use backend="thread".'
        why = f"{brief(error)}. {way_out}"
    return NotPicklable(f"{task} cannot {direction}: {what}{where}: {why}", part=part, path=path)


def _way_out_of(fn: object, path: str, culprit: object) -> str:
    """Say what to do about what a function has with it."""
    if "__self__" in path or not isinstance(fn, (types.FunctionType, partial)):
        return _OF_AN_OBJECT
    if isinstance(culprit, _LOCKS) and "." not in path:  # else it is some object's own
        return _OF_A_LOCK
    return _OF_A_FUNCTION if isinstance(fn, types.FunctionType) else _WAY_OUT["argument"]


def parameter(fn: Callable[..., Any], at: int) -> str:
    """Name the parameter that a positional argument is for; where there is no name, its place."""
    try:
        parameter = list(signature(fn).parameters.values())[at]
        if parameter.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
            return repr(parameter.name)
    except Exception:  # noqa: S110 - not all callables have a signature
        pass
    return f"{at} (counted from 0)"


def can_pickle(value: Any) -> bool:
    """Try whether it can be pickled."""
    try:
        pickling.dumps(value)
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        return False
    return True


def locate(value: Any, *holders: object) -> tuple[str, Any]:
    """Find the innermost object that cannot be pickled, and the path to it; it is none of these holders."""
    path, culprit = _Search(holders).culprit_in(value, "", 0) or ("", value)
    return path.lstrip("."), culprit


class _Search:
    """One search for who is to blame, which looks nowhere twice: things may hold each other."""

    def __init__(self, holders: Iterable[object]) -> None:
        self._passed = {id(each): each for each in holders}
        self._left = _MOST_LOOKED_AT

    def culprit_in(self, value: Any, path: str, depth: int) -> tuple[str, Any] | None:
        """Give the one at fault in what cannot be pickled; None if it only leads back to where the search was."""
        if depth > _DEEPEST or _refuses(value):
            return path, value
        self._passed[id(value)] = value
        leads_back = False
        for step, inner in _parts_of(value):
            if id(inner) in self._passed:
                leads_back = True
                continue
            self._left -= 1
            if self._left <= 0:
                return path, value
            if not can_pickle(inner):
                culprit = self.culprit_in(inner, path + step, depth + 1)
                if culprit is not None:
                    return culprit
                leads_back = True
                self._left -= _A_DEAD_END
        return None if leads_back else (path, value)


def _refuses(value: Any) -> bool:
    """Tell whether a thing says itself that it cannot travel: then nothing in it is to blame."""
    try:
        value.__reduce_ex__(pickling.PROTOCOL)
    except NotPicklable:
        return True
    except BaseException as error:  # of all kinds; looked into
        if is_ctrl_c(error):
            raise
    return False


def _parts_of(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        keyed = cast("dict[object, Any]", value)
        return [(f"[{_shown(key)}]", inner) for key, inner in list(keyed.items())[:_MOST_LOOKED_AT]]
    if isinstance(value, (list, tuple, set, frozenset)):
        several = cast("Iterable[Any]", value)
        return [(f"[{i}]", inner) for i, inner in enumerate(list(several)[:_MOST_LOOKED_AT])]
    parts = list(_bound_to(value))
    inner = getattr(value, "__dict__", None)
    if isinstance(inner, dict) and not isinstance(value, type):
        attributes = cast("dict[str, Any]", inner)
        parts += [(f".{name}", attribute) for name, attribute in attributes.items()]
    return parts


def _bound_to(value: Any) -> Iterator[tuple[str, Any]]:
    """Give what a callable takes along: what it is bound to, closes over, or reads of the globals around it."""
    if isinstance(value, partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    elif isinstance(value, types.FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            with suppress(ValueError):  # it has no value yet
                yield f".{name}", cell.cell_contents
        yield from (
            (".__defaults__", value.__defaults__),
            (".__kwdefaults__", value.__kwdefaults__),
        )
        for name in _globals_in(value.__code__):
            if name in value.__globals__:
                yield f".{name}", value.__globals__[name]
    elif isinstance(value, (types.MethodType, types.BuiltinMethodType)):
        yield ".__self__", value.__self__
        yield ".__func__", getattr(value, "__func__", None)


def _globals_in(code: types.CodeType) -> dict[str, None]:
    """Give the names of the globals that a function reads, and functions within it."""
    found = dict.fromkeys(
        step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"
    )
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(_globals_in(constant))
    return found


def _shown(key: object) -> str:
    text = repr(key)
    return text if len(text) <= _LONGEST_KEY else f"{text[:_LONGEST_KEY]}..."
