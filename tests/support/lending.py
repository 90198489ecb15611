"""Workers that die between the steps of lending memory: a slot is taken, the note is sent, the room is let go."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tests.support.dying import die
from tests.support.fatal import note

__all__ = ["POINTS", "die_at", "give_and_die", "take_and_die"]


def _after(owner: Any, name: str) -> None:
    """Die when a call of it has returned."""
    call: Callable[..., Any] = getattr(owner, name)

    def replaced(*args: Any, **kwargs: Any) -> Any:
        value = call(*args, **kwargs)
        die()
        return value

    setattr(owner, name, replaced)


def _before(owner: Any, name: str) -> None:
    """Die instead of calling it."""
    setattr(owner, name, lambda *_, **__: die())


def die_at(point: str) -> None:
    """Have this worker die when it comes to that point."""
    from workpool.ipc import borrowing, depot, outbox, windows

    when, owner, name = POINTS[point]
    homes = {"depot": depot, "borrowing": borrowing, "outbox": outbox, "windows": windows}
    place: Any = homes[owner]
    *path, last = name.split(".")
    for step in path:
        place = getattr(place, step)
    (_after if when == "after" else _before)(place, last)


# Where a worker dies: after or before which call of which module.
POINTS = {
    "before the argument is mapped": ("before", "borrowing", "_map"),
    "after the argument is mapped": ("after", "borrowing", "_map"),
    "before the slot of the argument is cleared": ("before", "depot", "Slots.clear"),
    "after the slot of the argument is cleared": ("after", "depot", "Slots.clear"),
    "before the result is laid down": ("before", "depot", "Depot.lay_down"),
    "with a room and no bytes in it": ("before", "depot", "_with_padding"),
    "with a used room and some bytes in it": ("after", "windows", "Windows._copy"),
    "after the result is laid down": ("after", "depot", "Depot.lay_down"),
    "after a slot is taken": ("after", "depot", "Slots.take"),
    "after the note is made": ("after", "depot", "Parcel.note_for"),
    "before the note is sent": ("before", "outbox", "FrameWriter.write"),
    "after the note is sent": ("after", "outbox", "FrameWriter.write"),
}


def give_and_die(starts: str, point: str, size: int, n: int) -> bytes:
    """Note the start, and give a large result; with the first item, die at the point on the way."""
    note(starts, n)
    if n == 0:
        die_at(point)
    return bytes([n]) * size


def take_and_die(starts: str, point: str, data: bytes) -> tuple[int, int]:
    """Take a large argument; with the first, die at the point that comes next, for its slot or for this result."""
    n = data[0]
    note(starts, n)
    if n == 0:
        die_at(point)
    return n, os.getpid()
