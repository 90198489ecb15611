"""What arrives by value, in a worker that has the program: its own of a name, or else the copy that came along.

A function arrives with a copy of the globals it uses. Where its module is, it is made in there, and sees and sets
what the module's own functions do: what an initializer has set, say. A global comes along that the
module has not, as it is made under the ``__main__`` guard; or that it has as it was imported, while the
sender has given it another value. Then the function has globals of its own, with these in them.
"""

from __future__ import annotations

import functools
import importlib
from operator import attrgetter
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, cast

from workpool.ipc import mainmodule
from workpool.ipc.pickling import PLAIN
from workpool.ipc.strikes import sent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "MODULE",
    "fill_made",
    "look_of",
    "made_at_home",
    "made_cached",
    "own_or_made",
    "register",
    "set_attributes",
    "set_made",
    "space_of",
]

MODULE = "module"  # a home that is no program, but a module of that name
_CONTAINERS = frozenset({list, dict, set, tuple, frozenset})
_NONE = object()

Home = tuple[str, str]

_spaces: dict[ModuleType, dict[str, Any]] = {}
_absent: set[str] = set()  # modules that cannot be imported here


# --------------------------------------------------------------- classes and functions


def own_or_made(
    program: Home, name: str, like: Any, make: Callable[..., Any], made_of: tuple[Any, ...]
) -> Any:
    """Give what this worker's program has under that name, if it is such a thing; else what was sent."""
    found = _own(program, name, like)
    return make(*made_of) if found is None else found


def set_made(made: Any, about: tuple[Any, ...]) -> None:
    """Complete what was made; what was here is complete."""
    program, name, like, set_state, state = about
    if made is not _own(program, name, like):
        set_state(made, state)


def _own(program: Home, name: str, like: Any) -> Any:
    module = mainmodule.of_program(program)
    if module is None:
        return None
    try:
        found: Any = attrgetter(name)(module)
    except Exception as error:  # it has none, or its class is some proxy
        if sent(error):
            raise
        return None
    if like.__class__ is CodeType:  # under the guard there may be another one of that name
        return found if type(found) is FunctionType and found.__code__ == like else None
    return found if isinstance(found, like) else None


def made_cached(parameters: dict[str, Any], function: Any) -> Any:
    """Make a cache around a function."""
    return functools.lru_cache(**parameters)(function)


def set_attributes(made: Any, attributes: dict[str, Any]) -> None:
    """Give an object the attributes that it had where it was sent."""
    made.__dict__.update(attributes)


def register(made: Any, registry: dict[Any, Any]) -> None:
    """Give a generic function its functions for each class."""
    for kind, function in registry.items():
        made.register(kind, function)


# -------------------------------------------------------------------------- globals


def look_of(value: Any) -> Any:
    """Tell as much of a global as it takes to see that a plain or empty one here differs from it."""
    kind = cast("Any", type(value))
    if kind in PLAIN:
        return value
    return cast("object", kind()) if kind in _CONTAINERS and not value else ...


def made_at_home(
    home: Home,
    make: Callable[..., Any],
    code: CodeType,
    private: dict[str, Any],
    cells: Any,
    names: tuple[str, ...],
    looks: dict[str, Any],
    withheld: tuple[str, ...],
) -> Any:
    """Make a function in its module; with these private globals, if there is no such module, or it has not all."""
    module = _module(home)
    space: dict[str, Any] = {} if module is None else space_of(module)
    imported: dict[str, Any] = {} if module is None else mainmodule.as_imported(module)
    came = {
        name
        for name, look in looks.items()
        if name not in space or (space is not imported and _is_changed(space, imported, name, look))
    }
    if not came and module is not None:
        return make(code, space, None, None, cells)
    if not came.isdisjoint(withheld):
        missing = ", ".join(sorted(came.intersection(withheld)))
        message = f"{code.co_name}() needs globals that cannot be pickled: {missing}"
        raise LookupError(message)
    # As they are now: a function that travels by value arrives anew for each call.
    private.update({name: space[name] for name in names if name in space and name not in came})
    return make(code, private, None, None, cells)


def fill_made(made: Any, about: tuple[Any, ...]) -> None:
    """Complete a function, and its globals, if it has some of its own."""
    private, set_state, attributes, parts = about
    if made.__globals__ is private:
        for name, value in parts["__globals__"].items():
            private.setdefault(name, value)
    set_state(made, (attributes, {**parts, "__globals__": {}}))


def _is_changed(space: dict[str, Any], imported: dict[str, Any], name: str, look: Any) -> bool:
    """Tell whether the sender has changed a global which here is as it was imported: plain, or empty."""
    here = space[name]
    if here is not imported.get(name, _NONE):
        return False
    kind = cast("Any", type(here))
    if kind not in PLAIN and (kind not in _CONTAINERS or here):
        return False
    return type(look) is not kind or bool(look != here)


def _module(home: Home) -> ModuleType | None:
    kind, name = home
    if kind != MODULE:
        program: ModuleType | None = mainmodule.of_program(home)
        return program
    if name in _absent:
        return None
    try:
        return importlib.import_module(name)
    except Exception as error:  # user code of all kinds; what was sent has all that it had there
        if sent(error):
            raise  # a time limit says nothing about the module
        _absent.add(name)
        return None


def space_of(module: ModuleType) -> dict[str, Any]:
    """Give the globals of a module's functions.

    A worker's program is run by ``runpy``, which gives its ``__main__`` a copy of them, as they are at the end of the
    import. So what that has is what was imported, and never changes.
    """
    known = vars(module)
    if known.get("__name__") != "__mp_main__":
        return known
    space = _spaces.get(module)
    if space is None:
        # Without a function to lead there, a copy: no other function sees or sets anything there.
        space = next(filter(_is_programs, _globals_in(known)), None)
        _spaces[module] = space = dict(known) if space is None else space
    return space


def _is_programs(space: dict[str, Any]) -> bool:
    return space.get("__name__") == "__mp_main__"


def _globals_in(known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Go through the globals of functions, and of methods."""
    for value in list(known.values()):
        inner: dict[str, Any] = value.__dict__ if issubclass(type(value), type) else {}
        for each in (value, *inner.values()):
            function: Any = each.__func__ if type(each) in _METHODS else each
            while type(function) is FunctionType or type(function) is _Cached:
                if type(function) is FunctionType:
                    yield function.__globals__
                function = function.__dict__.get("__wrapped__")


_METHODS = frozenset({staticmethod, classmethod})
_Cached: Any = type(functools.cache(len))
