"""Things of which one can tell whether anybody holds them still, and tasks that are given or give one."""

from __future__ import annotations

import weakref
from typing import NoReturn


class Thing:
    """Something of which one can tell whether it is still there."""


class ThingError(Exception):
    """An error of which one can tell the same."""


_seen: list[weakref.ref[object]] = []


def take_thing(thing: Thing) -> None:
    _seen[:] = [weakref.ref(thing)]


def make_thing() -> Thing:
    thing = Thing()
    _seen[:] = [weakref.ref(thing)]
    return thing


def make_thing_for(_: int) -> Thing:
    return Thing()


def raise_thing() -> NoReturn:
    error = ThingError()
    _seen[:] = [weakref.ref(error)]
    try:
        raise error
    finally:
        del error  # else the traceback holds this frame, and the frame the error


def raise_thing_if(wanted: int) -> Thing:
    if wanted:
        raise ThingError
    return Thing()


def things_left() -> int:
    """Tell how many of those last seen in this worker are still there."""
    return sum(ref() is not None for ref in _seen)
