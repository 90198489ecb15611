"""What a function holds, as bytes: what it is bound to, its defaults, what it closes over.

Pickle knows the way into every value, so its pickler goes there. In three things it
does otherwise than for a pickle that is to be read:

- Functions go by their code, wherever they lie, and so does what wraps one (``__wrapped__``).
- What has no pickle as a whole, for something in it has none, is looked into all the same.
- Where nothing can be told of a thing (a lock, a socket), its type stands for it. So it does
  for all of a kind that makes a program run and means nothing for a result, but is full of
  numbers that are others in each run: threads, queues, pools, connections, weak references.

Nothing here depends on addresses, nor on the order of sets. It is gone through without
pickle's memo at first, so that it does not matter whether two equal parts are one object.
What holds itself, or is too much that way, is gone through with a memo.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from collections.abc import Callable
from types import CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, cast

from workpool.ipc.pickling import PROTOCOL, dumps
from workpool.journal.digests import SETS, goes_as_a_set
from workpool.journal.instructions import code_parts

__all__ = ["function_holds", "held", "wrapped_by"]

MOST = 1_000_000  # objects that are looked at; a function that holds more asks for a version
# By the first name of the module that a class, or a base of it, comes from.
_MACHINERY = frozenset(
    (
        *("_asyncio", "_contextvars", "_io", "_queue", "_socket", "_ssl", "_thread"),
        *("_threading_local", "_weakref", "_weakrefset", "asyncio", "concurrent", "contextvars"),
        *("io", "logging", "multiprocessing", "queue", "select", "selectors", "socket", "sqlite3"),
        *("ssl", "subprocess", "tempfile", "threading", "weakref", "workpool"),
    )
)


def held(value: Any) -> bytes:
    """Give bytes that tell a value that a function holds from another one."""
    try:
        return _looked_through(value, memo=False)
    except Exception:  # it holds itself, or it is too much without a memo
        return _looked_through(value, memo=True)


def function_holds(function: FunctionType) -> list[Any]:
    """List what its defaults, those of its keywords and its closure hold, in order."""
    keywords = function.__kwdefaults__ or {}
    return [
        list(function.__defaults__ or ()),
        sorted(keywords.items()),
        [_content(cell) for cell in function.__closure__ or ()],
    ]


def wrapped_by(value: Any) -> Any:
    """Give the function that a wrapper says it stands for, or None."""
    try:
        return getattr(value, "__wrapped__", None)
    except (RecursionError, MemoryError):
        raise
    except Exception:  # user code of all kinds
        return None


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


# ------------------------------------------------------------------------ the pickler


class _Walk:
    """What the picklers of one value have in common."""

    def __init__(self, *, memo: bool) -> None:
        self.memo = memo
        self.left = MOST
        self.sets: set[int] = set()  # in the midst of which it is

    def dump(self, kind: type[_Holdings], value: Any) -> bytes:
        buffer = io.BytesIO()
        pickler = kind(buffer, self)
        pickler.fast = not self.memo
        pickler.dump(value)
        return buffer.getvalue()

    def in_order(self, kind: type[_Holdings], owner: object, members: Any) -> list[bytes] | str:
        """Give the members' pickles, sorted."""
        if id(owner) in self.sets:  # a member leads back to it
            return "again"
        self.sets.add(id(owner))
        parts = sorted(self.dump(kind, member) for member in members)
        self.sets.discard(id(owner))
        return parts


def _looked_through(value: Any, *, memo: bool) -> bytes:
    data = _Walk(memo=memo).dump(_Holdings, value)
    if any(data.find(code) >= 0 for code in SETS):
        data = _Walk(memo=memo).dump(_HoldingsInOrder, value)
    return data


class _Holdings(pickle.Pickler):
    """Pickles what is never to be read again."""

    def __init__(self, buffer: io.BytesIO, walk: _Walk) -> None:
        super().__init__(buffer, PROTOCOL)
        self._walk = walk
        self._maker: Any = (
            None  # what makes the object again that was just begun: next to be pickled
        )

    def reducer_override(self, obj: Any, /) -> Any:
        """Say what is to be pickled in place of an object; NotImplemented for its own way."""
        walk = self._walk
        walk.left -= 1
        if walk.left < 0:
            message = f"it holds more than {MOST:,} objects"
            raise ValueError(message)
        maker, self._maker = self._maker, None
        kind = cast("Any", type(obj))
        if obj is maker or issubclass(kind, type):
            name = getattr(obj, "__qualname__", "")
            return NotImplemented if _is_found(obj, name) else _instead("named", _full_name(obj))
        known = _KNOWN.get(kind)
        if known is not None:
            return known(obj)
        if _is_machinery(kind) and not _has_a_pickle(obj):
            return _instead("type", _full_name(kind))
        reduced = _reduced(obj, kind)
        if isinstance(reduced, tuple):
            self._maker = reduced[0]
            if goes_as_a_set(kind):
                return reduced[0], (walk.in_order(type(self), obj, *reduced[1]),), *reduced[2:]
            return reduced
        return _without_a_recipe(obj, kind, reduced)


class _HoldingsInOrder(_Holdings):
    """Pickles sets as their members' pickles, sorted."""

    def persistent_id(self, obj: Any) -> Any:
        """Stand in for a set; None for everything else."""
        kind = cast("Any", type(obj))
        if kind is not set and kind is not frozenset:
            return None
        return kind.__name__, self._walk.in_order(type(self), obj, obj)


def _instead(what: str, told: str | bytes, state: Any = None) -> tuple[Any, ...]:
    """Make what no tuple is pickled as. The state comes last: what it leads back to is in the memo by then."""
    return tuple, ((what, told),), state


def _function(obj: FunctionType) -> Any:
    return _instead("function", _code(obj.__code__), function_holds(obj))


def _code(code: CodeType) -> bytes:
    return b"".join(len(part).to_bytes(8, "big") + part for part in code_parts(code))


_KNOWN: dict[Any, Callable[[Any], Any]] = {
    FunctionType: _function,
    CodeType: lambda code: _instead("code", _code(code)),
    MappingProxyType: lambda proxy: _instead("proxy", "", dict(proxy)),
    MethodType: lambda method: _instead("method", "", (method.__func__, method.__self__)),
    ModuleType: lambda module: _instead("module", module.__name__),
}


def _without_a_recipe(obj: Any, kind: Any, name: str | None) -> Any:
    """Tell what is in an object that pickle finds by a name, or that has no pickle."""
    wrapped = wrapped_by(obj)
    if wrapped is not None:
        return _instead("wrapper", _full_name(kind), (wrapped, _settings(obj)))
    if name is not None:
        return NotImplemented if _is_found(obj, name) else _instead("named", f"{kind} {name}")
    state = _state(obj)
    if state is not None:
        return _instead("object", _full_name(kind), state)
    try:
        return _instead("value", dumps(obj))  # cloudpickle knows views of dicts and of memory
    except (RecursionError, MemoryError):
        raise
    except Exception:
        return _instead("type", _full_name(kind))


def _state(obj: Any) -> Any:
    """Give what lies in the attributes and slots of an object; None if there is nothing."""
    return object.__getstate__(obj)


def _settings(wrapper: Any) -> Any:
    """Give what a wrapper has of its own, without what it took over to look like what it wraps."""
    state = _state(wrapper)
    if not isinstance(state, dict):
        return state
    own = cast("dict[str, Any]", state)
    return {name: value for name, value in own.items() if not name.startswith("__")}


def _reduced(obj: Any, kind: Any) -> tuple[Any, ...] | str | None:
    """Have an object say how it is pickled, or by which name it is found; None if it cannot be."""
    reduce = copyreg.dispatch_table.get(kind)
    try:
        return obj.__reduce_ex__(PROTOCOL) if reduce is None else reduce(obj)
    except (RecursionError, MemoryError):
        raise
    except Exception:  # user code of all kinds
        return None


def _has_a_pickle(obj: Any) -> bool:
    try:
        pickle.dumps(obj, PROTOCOL)
    except (RecursionError, MemoryError):
        raise
    except Exception:
        return False
    return True


def _is_machinery(kind: Any) -> bool:
    return any(str(base.__module__).partition(".")[0] in _MACHINERY for base in kind.__mro__)


def _is_found(obj: Any, name: str) -> bool:
    """Tell whether pickle finds it by its name."""
    found: Any = sys.modules.get(getattr(obj, "__module__", None) or "")
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is obj


def _full_name(obj: Any) -> str:
    return f"{getattr(obj, '__module__', '')}.{getattr(obj, '__qualname__', '')}"
