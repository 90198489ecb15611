"""Stacks as text, in the form that Python's tracebacks have, from the task's own function on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from workpool._compat import frame_of, other_interpreters_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

__all__ = ["Place", "render", "stack_of_thread", "trimmed"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Where the library calls what users gave it: a task, an item, an initializer.
_CALLERS = frozenset(
    os.path.join(_PACKAGE, *path)
    for path in (
        ("ipc", "onecall.py"),
        ("ipc", "runner.py"),
        ("backends", "local.py"),
        ("backends", "engine", "remote.py"),
        ("situation.py",),
    )
)


_MOST = 100  # calls that ``faulthandler`` writes down of a thread, the latest


class Place(NamedTuple):
    """Where one call of a stack stands."""

    file: str
    line: int
    name: str


def stack_of_thread(ident: int | None) -> str:
    """Write down where a thread of this process stands."""
    from workpool.ipc import stackdump

    if ident is not None and other_interpreters_run():
        # Python makes frame objects for all threads, those of other interpreters among them, while these run.
        return render(trimmed(stackdump.places_of_thread(ident)))
    frame: FrameType | None = None if ident is None else frame_of(ident)
    places: list[Place] = []
    while frame is not None:
        places.append(Place(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name))
        frame = frame.f_back
    return render(trimmed(places[::-1]))


def trimmed(places: Sequence[Place]) -> list[Place]:
    """Leave out the library's own calls below the user's; nothing is left of a worker that waits."""
    for start, place in enumerate(places):
        if place.file in _CALLERS:
            rest = list(places[start:])
            while rest and rest[0].file in _CALLERS:
                del rest[0]
            # A function in C has no frame: then the call itself is all there is to see.
            return rest or list(places[-1:])
    # So deep that the library's own are not among those that were written down: all are the user's.
    return list(places) if len(places) >= _MOST else []


def render(places: Sequence[Place]) -> str:
    """Write a stack as a traceback has it, with the source where it can be read."""
    import linecache

    text = ""
    for file, line, name in places:
        text += f'  File "{file}", line {line}, in {name}\n'
        source = linecache.getline(file, line).strip()
        if source:
            text += f"    {source}\n"
    return text
