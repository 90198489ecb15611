"""What travels in the place of an error that cannot: of a group all that can, else a NotPicklable.

Loaded when there is such an error, and not before.
"""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any, cast

from workpool.errors import NotPicklable, brief
from workpool.ipc import pickling
from workpool.ipc.blaming import locate
from workpool.ipc.made_twice import is_made_twice

__all__ = ["dump_in_place_of"]


def dump_in_place_of(error: BaseException, task: str) -> bytes:
    """Pickle what stands for an error of a task that does not travel itself."""
    try:
        return pickling.dumps(_that_travels(error, task))
    except BaseException:  # user code of all kinds, or a group that is too deep
        return pickle.dumps(_stand_in(error, task), pickling.PROTOCOL)


def _that_travels(error: BaseException, task: str) -> Any:
    """Give what arrives as this error, or as much of it as can."""
    spare = None
    for way in pickling.WHOLE:
        copy = _arrived(whole := way(error))
        if copy is None:
            continue
        if not is_made_twice(error, copy):
            return whole
        spare = whole if spare is None else spare
    if _is_group(error):
        for part in _regrouped(error, task):
            if _arrived(part) is not None:
                return part
    return _stand_in(error, task) if spare is None else spare


def _is_group(error: object) -> bool:
    return isinstance(error, BaseExceptionGroup)


def _regrouped(group: Any, task: str) -> list[pickling.Apart]:
    """Give a group of what travels in its members' places: of the same class, or without what is its class's own."""
    args = group.message, [_that_travels(member, task) for member in group.exceptions]
    kind = cast("type[BaseException]", type(group))
    state: dict[str, Any] = group.__dict__.copy()
    notes = {name: value for name, value in state.items() if name == "__notes__"}
    return [
        pickling.Apart(kind, args, state),
        pickling.Apart(BaseExceptionGroup, args, notes),
    ]


def _arrived(thing: Any) -> BaseException | None:
    try:
        copy: object = pickling.loads(pickling.dumps(thing))
    except BaseException:  # user code of all kinds
        return None
    return copy if isinstance(copy, BaseException) else None


def _stand_in(error: BaseException, task: str) -> NotPicklable:
    """Make the error that names one which stays behind, and what in it is to blame."""
    try:
        what = f"{type(error).__module__}.{brief(error)}"
    except BaseException:  # its metaclass may be anything
        what = "an error without a name"
    path, where = "", ""
    way_out = "Raise an error whose arguments can be pickled."
    try:
        path, culprit = locate(SimpleNamespace(**{**vars(error), "args": error.args}), error)
        if path:
            where = f": it holds a {type(culprit).__qualname__} at error.{path}"
            way_out = "Raise an error that holds nothing but what can be pickled."
    except BaseException:  # noqa: S110 - user code of all kinds; then it is not found
        pass
    return NotPicklable(
        f"{task} raised {what} - which cannot be pickled and stays in its worker{where}; "
        f"its traceback is the cause. {way_out}",
        part="exception",
        path=path,
    )
