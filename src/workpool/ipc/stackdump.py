"""The stacks of the threads of one interpreter, and of no other: as ``faulthandler`` writes them, and read again.

``sys._current_frames()`` makes frame objects for the threads of *all* interpreters, also
while these run. So where there are several, it is not asked. In the main interpreter ``faulthandler`` writes
stacks down from C. Others cannot load it; there the threads are gone through one by one.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from workpool.ipc.stacktext import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["crashed", "places_of_others", "places_of_thread", "threads_of"]

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


def places_of_others() -> Iterator[tuple[list[Place], int]]:
    """Say where the other threads of this interpreter stand, each with its ident if it has a `threading.Thread`.

    None of them runs meanwhile, for this one has the interpreter's GIL.
    """
    for frame in _frames_of_others():
        places: list[Place] = []
        ident = 0
        at: FrameType | None = frame
        while at is not None:
            code = at.f_code
            places.insert(0, Place(code.co_filename, at.f_lineno or 0, code.co_name))
            if at.f_back is None and code.co_name == "_bootstrap":
                ident = getattr(at.f_locals.get("self"), "ident", None) or 0
            at = at.f_back
        yield places, ident


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
