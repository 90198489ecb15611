"""The stacks of the threads of one interpreter, and of no other.

``sys._current_frames()`` makes frame objects for the threads of *all* interpreters, also
while these run. So where there are several, it is not asked. In the main interpreter ``faulthandler`` writes
stacks down from C, of a hundred threads. Others cannot load it; there, and where it matters that nothing has moved on
since, the threads are gone through one by one, while none of them runs: one that ended in the middle of that
would leave a pointer to nothing.
"""

from __future__ import annotations

import gc
import re
import sys
from contextlib import suppress
from threading import get_ident
from time import sleep
from typing import TYPE_CHECKING, TypeVar

from workpool._compat import Lock, across_forks
from workpool.calm import calmly
from workpool.ipc.stacktext import Place

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = [
    "alone",
    "crashed",
    "is_alone",
    "look_at_others",
    "places_of_others",
    "places_of_thread",
    "threads_of",
]

_one_by_one = across_forks(Lock())  # guards the switch interval and the collector
_who = 0  # has it
_LONG = 0.05  # seconds: a look at some threads takes a hundredth of that

R = TypeVar("R")

_THREAD = re.compile(
    r"^(?P<current>Current t|T)hread (?P<ident>0x[0-9a-f]+).*\(most recent call first\):$"
)
_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+|\?\?\?) in (?P<name>.*)$')


def threads_of(text: str) -> tuple[dict[int, list[Place]], bool]:
    """Cut a dump into threads, each oldest call first; tell whether the first dump is whole."""
    threads: dict[int, list[Place]] = {}
    places: list[Place] | None = None
    for line in text.splitlines():
        if (thread := _THREAD.match(line)) is not None:
            ident = int(thread["ident"], 16)
            if ident in threads:
                return threads, True
            places = threads[ident] = []
        elif places is not None and (frame := _FRAME.match(line)) is not None:
            places.insert(0, _place(frame))
    return threads, False


def crashed(text: str) -> list[Place]:
    """Find the thread that crashed, oldest call first."""
    places: list[Place] = []
    inside = False
    for line in text.splitlines():
        if (thread := _THREAD.match(line)) is not None:
            inside = thread["current"] != "T"
        elif inside and (frame := _FRAME.match(line)) is not None:
            places.insert(0, _place(frame))
    return places


def places_of_thread(ident: int) -> list[Place]:
    """Say where a thread of this interpreter stands, oldest call first."""
    import tempfile

    try:
        import faulthandler
    except ImportError:  # in an interpreter that is a worker
        return [place for places, whose in places_of_others() if whose == ident for place in places]
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        threads, _ = threads_of(file.read().decode(errors="replace"))
    return threads.get(ident, [])


def places_of_others() -> list[tuple[list[Place], int]]:
    """Say where the other threads of this interpreter stand; each with its ident if it has a `threading.Thread`."""
    # Calmly: whoever waits for its turn here must not wait for what a signal's handler does meanwhile.
    return calmly(lambda: alone(look_at_others)) or []


def look_at_others() -> list[tuple[list[Place], int]]:
    """Say the same, within `alone`."""
    return [_places_from(frame) for frame in _frames_of_others()]


def _places_from(frame: FrameType) -> tuple[list[Place], int]:
    places: list[Place] = []
    ident = 0
    at: FrameType | None = frame
    while at is not None:
        code = at.f_code
        places.append(Place(code.co_filename, at.f_lineno or 0, code.co_name))
        if at.f_back is None and code.co_name == "_bootstrap":
            ident = getattr(at.f_locals.get("self"), "ident", None) or 0
        at = at.f_back
    return places[::-1], ident


def alone(act: Callable[[], R], *, wait: bool = True) -> R | None:
    """Make a call that no other thread of this interpreter comes between, as long as it does not give the GIL away.

    Who waits for the GIL asks for it after the switch interval that there was when it began to wait, or when it last
    asked. So all have their turn once more, and from then on wait for longer than the call takes. Nor does the
    collector run, whose finalizers may give it away. One thread at a time does so, for the next would
    take what the first has set for what was there before: None if another does, for who will not ``wait``.
    """
    global _who  # noqa: PLW0603 - of those that have the lock
    if not _one_by_one.acquire(wait):
        return None
    interval, collects = sys.getswitchinterval(), gc.isenabled()
    try:
        try:
            _who = get_ident()
            sys.setswitchinterval(max(interval, _LONG))
            gc.disable()
            sleep(min(2 * interval, _LONG))
            return act()
        finally:
            _who = 0
            if collects:
                gc.enable()
            # Python cuts off what is no microsecond, and so would cut off one more each time.
            sys.setswitchinterval(interval + 1e-9)
    finally:
        _one_by_one.release()


def is_alone() -> bool:
    """Tell whether this thread makes such a call."""
    return _who == get_ident()


def _frames_of_others() -> list[FrameType]:
    import ctypes

    api = ctypes.PyDLL(None)  # one of our own: what is set here is nobody else's
    pointer, thing = ctypes.c_void_p, ctypes.py_object
    for name, gives in (
        ("PyInterpreterState_Get", pointer),
        ("PyInterpreterState_ThreadHead", pointer),
        ("PyThreadState_Get", pointer),
        ("PyThreadState_Next", pointer),
        ("PyThreadState_GetFrame", thing),
    ):
        getattr(api, name).restype = gives
    frames: list[FrameType] = []
    me = api.PyThreadState_Get()
    state = api.PyInterpreterState_ThreadHead(pointer(api.PyInterpreterState_Get()))
    while state:
        if state != me:
            with suppress(ValueError):  # it has no frame: it is about to begin, or has ended
                frames.append(api.PyThreadState_GetFrame(pointer(state)))
        state = api.PyThreadState_Next(pointer(state))
    return frames


def _place(frame: re.Match[str]) -> Place:
    line = frame["line"]
    return Place(frame["file"], int(line) if line.isdigit() else 0, frame["name"])
