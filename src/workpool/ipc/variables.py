"""Context variables on their way to a worker: as the place where they are found.

A :class:`~contextvars.ContextVar` cannot be pickled, but most are found under a name: a global of a module,
or an attribute of one. So they travel as that name, and over there it is the variable that this module has.

A worker may not have what ``__main__`` has here: the program is a notebook, or defines the variable under its
guard. Such a variable is made there, once for each place, so that a function which reads it and the
context that sets it mean the same one. What leads to it here need not do so for ever: a cell that is run
again, or a module that is loaded again, has a new variable in the place of the old one.
"""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
from contextlib import suppress
from contextvars import Context, ContextVar
from operator import attrgetter
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

from workpool.errors import NotPicklable
from workpool.ipc import pickling

__all__ = ["NOWHERE", "Place", "dict_of", "found", "place_of", "reduce_variable"]

NOWHERE = "it is no global of a module, and no attribute of one"
_MOST_PLACES = 1024
_MAIN = "__main__"


class Place(NamedTuple):
    """Where a variable is found; and what it takes to make it, for one of ``__main__``."""

    module: str
    attribute: str
    name: str = ""
    default: bytes | None = None  # its pickle, if it has one


# By variable: the place where it was last, and the number of modules that were loaded when it was looked
# for in vain since. A ContextVar takes no weak reference: so that those of long ago are not held for
# ever, all are forgotten now and then.
_places: dict[ContextVar[Any], tuple[Place | None, int]] = {}
_FOUND = -1  # in the place of that number
_made: dict[Place, ContextVar[Any]] = {}  # here, for a program whose __main__ is not
# The same the other way round: no module has them here.
_made_for: dict[ContextVar[Any], Place] = {}


class _BeingPlaced(threading.local):
    """The variables whose defaults this thread is just pickling, and their places without these."""

    def __init__(self) -> None:
        self.places: dict[ContextVar[Any], Place] = {}


_being_placed = _BeingPlaced()


def place_of(variable: ContextVar[Any]) -> Place | None:
    """Find module and attribute under which a variable is known; None if there are none."""
    place = _made_for.get(variable) or _being_placed.places.get(variable)
    if place is not None:
        return place
    last, searched = _places.get(variable, (None, _FOUND))
    loaded = len(sys.modules)
    if last is not None and _leads_to(last, variable):
        place = last
        if searched == _FOUND:
            return place
    elif searched == loaded:
        return None
    else:
        place = _search(variable)
    if len(_places) >= _MOST_PLACES:
        _places.clear()
    # One that is nowhere may be where it was again one day: a test had replaced it, say.
    _places[variable] = (last, loaded) if place is None else (place, _FOUND)
    return place


def found(place: Place) -> ContextVar[Any]:
    """Give the variable of that place in this process."""
    made = _made.get(place)
    if made is not None:
        return made
    try:
        variable: ContextVar[Any] = attrgetter(place.attribute)(
            importlib.import_module(place.module)
        )
    except AttributeError:
        if place.module != _MAIN:
            raise
        default = {} if place.default is None else {"default": pickle.loads(place.default)}
        new = ContextVar[Any](place.name, **default)
        _made_for[new] = place  # first: whoever has it may send it on
        # In one step: who comes second has the first one's.
        variable = _made.setdefault(place, new)
        if variable is not new:
            del _made_for[new]
    return variable


def reduce_variable(variable: ContextVar[Any]) -> tuple[object, ...]:
    """Pickle a variable that something on its way refers to."""
    place = place_of(variable)
    if place is None:
        what = f"context variable {variable.name!r} cannot go to a worker"
        message = f"{what}: {NOWHERE}. Keep it in a global of a module."
        raise NotPicklable(message)
    return found, (place,)


def _search(variable: ContextVar[Any]) -> Place | None:
    """Look through the globals of all modules, then through what hangs on them."""
    modules = [
        (name, list(vars(module).items()))
        for name, module in list(sys.modules.items())
        if _is_module(module) and name != "__mp_main__"
    ]
    modules.sort(
        key=lambda each: each[0] == _MAIN
    )  # last: a worker has what it only imports elsewhere
    for name, attributes in modules:
        for attribute, value in attributes:
            if value is variable:
                return _placed(name, attribute, variable)
    for name, attributes in modules:
        for attribute, value in attributes:
            inner = dict_of(value)
            for deeper, each in list(inner.items()) if inner else ():
                if each is variable:
                    return _placed(name, f"{attribute}.{deeper}", variable)
    return None


def _leads_to(place: Place, variable: ContextVar[Any]) -> bool:
    """Tell whether this very variable is there still, without asking what is on the way for its attributes."""
    value: object = sys.modules.get(place.module)
    for step in place.attribute.split("."):
        inner = vars(value) if _is_module(value) else dict_of(value)
        value = inner.get(step) if inner else None
    return value is variable


def _placed(module: str, attribute: str, variable: ContextVar[Any]) -> Place:
    if module != _MAIN:
        return Place(module, attribute)
    place = Place(module, attribute, variable.name)
    # A default that refers to the variable refers to one without it: else it would hold itself, as often as it could.
    _being_placed.places[variable] = place
    try:
        # Where it has none, LookupError; else it may be anything, and refuse to be pickled.
        with suppress(Exception):
            place = place._replace(default=pickling.dumps(Context().run(variable.get)))
    finally:
        del _being_placed.places[variable]
    return place


def dict_of(value: object) -> Any:
    """Give an object's attributes, without asking it for them: it may be anything that a module has."""
    if _is_module(value):
        return None
    try:
        known = object.__getattribute__(value, "__dict__")
    except Exception:  # none, or a property, as of a proxy that is outside of its context
        return None
    return known if type(known) in (dict, MappingProxyType) else None


def _is_module(value: object) -> bool:
    return issubclass(type(value), ModuleType)  # isinstance() would ask the value, too
