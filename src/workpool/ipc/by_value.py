"""Pickles by value: cloudpickle's, made to fit what travels beside them by name.

Arguments of a program's classes go by plain pickle, as names, and a worker that imports the program has these
classes, and functions that see what an initializer has set. A lambda beside them would bring copies:
other classes, and globals of its own. So all that has a name in a program which workers can import
travels as "your own, or else this copy"; and a function is made in its module, if that is there. `own.py`
is the other side.

Loaded when something has to travel so, and not before.
"""

from __future__ import annotations

import builtins
import functools
import io
import sys
from collections import ChainMap
from contextvars import ContextVar
from multiprocessing import reduction
from operator import attrgetter
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, cast

import cloudpickle

from workpool.ipc import mainmodule, own, pickling, views
from workpool.ipc.strikes import sent
from workpool.ipc.variables import reduce_variable

if TYPE_CHECKING:
    import pickle
    from collections.abc import Iterable

__all__ = ["dump_by_value"]

_cloudpickle: Any = cloudpickle  # without types
_Cached: Any = type(functools.cache(len))
# Of the function that singledispatch() gives.
_DISPATCHER = cast("Any", functools.singledispatch(len)).__code__
_MADE_ANEW = {*functools.WRAPPER_ASSIGNMENTS, "__wrapped__", "cache_parameters"}
_MAIN_NAMES = ("__main__", "__mp_main__")
_Reduced = tuple[Any, ...]


def dump_by_value(
    value: Any, buffers: list[memoryview] | None, *, by_name: bool, whole: bool = False
) -> bytes:
    """Pickle a value; what a worker has no own of arrives as a copy. Large buffers are put apart, where asked for.

    What there is no copy of, as its globals hold a lock, a worker may have nevertheless: then, if allowed,
    all that has a name goes by it. With ``whole`` workers have nothing of their own.
    """
    pickler = _Pickler(buffers, whole=whole)
    try:
        return pickler.pickled(value)
    except Exception as error:
        if not by_name or not pickler.named or sent(error):
            raise
        try:
            return _Pickler(buffers, copies=False).pickled(value)
        except Exception as second:
            if sent(second):
                raise
            # The first one says what cannot be pickled.
        raise


if TYPE_CHECKING:
    _Base = pickle.Pickler
else:
    _Base = cloudpickle.Pickler


class _Pickler(_Base):
    """Sends what multiprocessing knows how to send, too, and context variables by their names."""

    # Of the class: a pickler looks for its table when it is made, and there alone.
    dispatch_table: Any = ChainMap(  # noqa: RUF012 - never changed
        {memoryview: views.reduce_view, ContextVar: reduce_variable},
        cast("Any", reduction.ForkingPickler)._extra_reducers,  # grows as modules load
        _cloudpickle.Pickler.dispatch_table,
    )

    def __init__(
        self,
        buffers: list[memoryview] | None = None,
        *,
        copies: bool = True,
        travels: dict[int, bool] | None = None,
        whole: bool = False,
    ) -> None:
        self._into = io.BytesIO()
        self._buffers = buffers
        apart = None if buffers is None else functools.partial(pickling.put_apart, buffers)
        super().__init__(self._into, pickling.PROTOCOL, buffer_callback=apart)
        self._whole = whole
        known = not whole and pickling.main_is_importable()
        self._program = mainmodule.place() if known else None
        self._copies = copies
        self._travels: dict[int, bool] = {} if travels is None else travels  # by a global's id
        self.named = False  # whether something in it may be a worker's own

    def pickled(self, value: Any) -> bytes:
        """Pickle a value; called once."""
        if self._buffers is not None:
            self._buffers.clear()
        self.dump(value)
        return self._into.getvalue()

    def reducer_override(self, obj: Any) -> Any:
        """Reduce functions and classes, and what stands for functions."""
        kind = cast("Any", type(obj))
        if kind is FunctionType or issubclass(kind, type) or kind is _Cached:
            if not self._of_program(obj):
                return self._reduce(obj, kind)
            self.named = True
            if not self._copies:
                return NotImplemented
            return self._own_or(obj, kind, self._reduce(obj, kind))
        if kind is MethodType or kind is BuiltinFunctionType:
            module = _draws_from(obj)
            if module is not None:
                return getattr, (module, obj.__name__)
        return NotImplemented

    def _reduce(self, obj: Any, kind: Any) -> Any:
        if kind is _Cached:
            return NotImplemented if _is_importable(obj) else _reduce_cached(obj)
        reduced: Any = super().reducer_override(obj)
        if kind is not FunctionType or reduced is NotImplemented:
            return reduced
        if obj.__code__ is _DISPATCHER:
            return _reduce_dispatcher(obj)
        return self._in_its_module(obj, reduced)

    def _of_program(self, obj: Any) -> bool:
        """Tell whether an object is found under its name in a program that a worker can import."""
        if self._program is None or getattr(obj, "__module__", None) != "__main__":
            return False
        return _found(sys.modules["__main__"], obj)

    def _own_or(self, obj: Any, kind: Any, reduced: Any) -> Any:
        """Have a worker take its own, if it has one."""
        make, made_of, state, _, _, set_state = reduced
        like = obj.__code__ if kind is FunctionType else _Cached if kind is _Cached else type
        place = self._program, obj.__qualname__, like
        return own.own_or_made, (*place, make, made_of), (*place, set_state, state), *_SET

    def _in_its_module(self, function: Any, reduced: _Reduced) -> _Reduced:
        """Have a function made in the module of its globals, if one of these is more than a name for itself."""
        home = self._home_of(function.__globals__)
        if home is None:
            return reduced
        make, (code, private, _, _, cells), (attributes, parts), _, _, set_state = reduced
        given = parts["__globals__"]
        names = tuple(_cloudpickle.cloudpickle._extract_code_globals(code))
        if all(
            _names_itself(name, given[name]) if name in given else hasattr(builtins, name)
            for name in names
        ):
            return reduced
        self.named = True
        looks = {name: own.look_of(value) for name, value in given.items()}
        sent = given if self._copies else self._that_travel(given)
        withheld = tuple(given.keys() - sent.keys())
        parts = {**parts, "__globals__": sent}
        made_of = home, make, code, private, cells, names, looks, withheld
        return own.made_at_home, made_of, (private, set_state, attributes, parts), *_FILL

    def _that_travel(self, given: dict[str, Any]) -> dict[str, Any]:
        """Give those globals of which there are copies, or that have a name."""
        travels = self._travels
        for value in given.values():
            if id(value) not in travels:
                travels[id(value)] = True  # where it leads back to itself
                try:
                    _Pickler(copies=False, travels=travels).pickled(value)
                except Exception as error:
                    if sent(error):
                        raise
                    travels[id(value)] = False
        return {name: value for name, value in given.items() if travels[id(value)]}

    def _home_of(self, space: dict[str, Any]) -> tuple[str, str] | None:
        """Tell whose globals these are, for a worker to find its own; None for those that travel whole."""
        if self._whole:
            return None
        name = space.get("__name__")
        main = sys.modules.get("__main__")
        if name in _MAIN_NAMES and main is not None and space is own.space_of(main):
            return self._program
        module = sys.modules.get(str(name))
        known = isinstance(module, ModuleType) and vars(module) is space
        spec: Any = getattr(module, "__spec__", None)
        # A module that is being imported may have made the pool: imported by a worker it would make another one.
        if not known or spec is None or getattr(spec, "_initializing", False):
            return None
        if _wanted_whole(str(name)):
            return None
        return own.MODULE, str(name)


_SET = None, None, own.set_made
_FILL = None, None, own.fill_made


def _wanted_whole(name: str) -> bool:
    """Tell whether cloudpickle was told to send what is of that module by value."""
    whole: Iterable[str] = _cloudpickle.list_registry_pickle_by_value()
    return any(f"{name}.".startswith(f"{each}.") for each in whole)


def _names_itself(name: str, value: Any) -> bool:
    """Tell whether a global is a module, or a function or class of that name: as it was defined or imported."""
    kind = cast("Any", type(value))  # isinstance() would ask the value, which may be anything
    if issubclass(kind, ModuleType):
        return True
    return issubclass(kind, (FunctionType, BuiltinFunctionType, type)) and value.__name__ == name


def _found(module: Any, obj: Any) -> bool:
    """Tell whether an object lies in a module under its own name."""
    name = obj.__qualname__
    if name.endswith("<lambda>") or "<locals>" in name:
        return False
    try:
        return attrgetter(name)(module) is obj
    except Exception as error:  # it lies nowhere, or below some proxy
        if sent(error):
            raise
        return False


def _is_importable(obj: Any) -> bool:
    """Tell whether this very object is found by its name in a module other than the program."""
    name = getattr(obj, "__module__", None)
    return name is not None and name != "__main__" and _found(sys.modules.get(name), obj)


def _reduce_cached(cached: Any) -> _Reduced:
    """Have a cache made anew, and empty, around the same function."""
    known: dict[str, Any] = cached.__dict__
    attributes = {name: value for name, value in known.items() if name not in _MADE_ANEW}
    made_of = cached.cache_parameters(), cached.__wrapped__
    return own.made_cached, made_of, attributes, None, None, own.set_attributes


def _reduce_dispatcher(function: Any) -> _Reduced:
    """Have a generic function made anew of the functions for each class."""
    registry = dict(function.registry)
    default = registry.pop(object)
    return functools.singledispatch, (default,), registry, None, None, own.register


def _draws_from(method: Any) -> Any:
    """Give the module whose common generator a method draws from: a copy of that would give each task the same."""
    for name, hidden in (("random", "random._inst"), ("numpy.random", "numpy.random.mtrand._rand")):
        module = sys.modules.get(name)
        if module is None:
            continue
        try:
            common = attrgetter(hidden.removeprefix(f"{name}."))(module)
            if method.__self__ is common and getattr(module, method.__name__) == method:
                return module
        except AttributeError:
            continue
    return None
