"""Pickles in pieces: what is large in a value lies beside its pickle, instead of being copied into it.

Pickle hands large bytes to the file that it writes to as they are, and asks the file that it
reads from to fill fresh ones. So a payload of bytes is copied by who sends it, to where it
shall lie, and once more by who needs an object of its own, and no third time.

The pieces one behind the other are an ordinary pickle. Beside it lie buffers, as
protocol 5 has them: of arrays, and of memoryviews, which arrive as read-only views.

The standard library pickles a bytearray under the GIL, in one step. Here other threads may
run meanwhile: one that changes its size then is refused, by Python, and one that has done so
a moment before is noticed, and everything is pickled anew.
"""

from __future__ import annotations

import copyreg
import pickle
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from workpool.ipc import pickling, views

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LARGE", "Piece", "dumps", "heavy", "loads"]

LARGE = 1 << 18  # bytes: from here on it pays
_READ_IN_PIECES = 1 << 20  # bytes: a shorter pickle is read as fast at once
_HUGE_FROM = 1 << 22  # bytes of fresh memory that are better had in large pages

Piece = bytes | memoryview

# What is not worth a look, and is met most.
_LIGHT = frozenset({int, str, float, bool, type(None), list, dict, complex})


def heavy(value: Any) -> bool:
    """Tell whether a value, or a call's ``(args, kwargs)``, has large raw data at its top: then pieces pay.

    Asked at every submit, so it looks no deeper: what lies there is pickled as ever.
    """
    light = _LIGHT
    if value.__class__ is not tuple:
        return value.__class__ not in light and _is_heavy(value)
    for part in value:
        kind = part.__class__
        if kind is tuple:
            for inner in part:
                if inner.__class__ not in light and _is_heavy(inner):
                    return True
        elif kind is dict:
            if part and any(map(_is_heavy, part.values())):
                return True
        elif kind not in light and _is_heavy(part):
            return True
    return False


def _is_heavy(value: Any) -> bool:
    kind = value.__class__
    if kind is bytes or kind is bytearray:
        return len(value) >= LARGE
    if kind is memoryview or kind is _array_type():
        try:
            return memoryview(value).nbytes >= LARGE
        except ValueError:  # a view that is released: pickle says what there is to say
            return False
    return False


def _array_type() -> Any:
    """Give the type of the standard library's arrays, if there can be any."""
    module = sys.modules.get("array")
    return None if module is None else module.array


# ----------------------------------------------------------------------------- out


def dumps(value: Any, *, by_value: bool = False) -> tuple[list[Piece], list[memoryview]]:
    """Pickle a value as ``pickling.dumps`` does: the pieces of its pickle, and the buffers beside it.

    A piece that is ``bytes`` never changes; whatever else is there has to be copied before others run on.
    """
    buffers: list[memoryview] = []
    apart = partial(pickling.put_apart, buffers)
    written: list[Any] = []
    if not by_value:
        try:
            _Pickler(written, apart).dump(value)
        except (RecursionError, MemoryError):
            raise
        except Exception as error:
            from workpool.ipc.strikes import sent

            if sent(error):
                raise  # else cloudpickle's error says more, or it succeeds
        else:
            pieces = _held(written)
            if pieces is not None and (
                pickling.main_is_importable() or not any(map(pickling.mentions_main, pieces))
            ):
                return pieces, buffers
    buffers.clear()
    return [pickling.dumps(value, by_value=by_value, buffers=buffers)], buffers


class _File:
    """What a pickler writes to: a list, by a step of C, in which no other thread runs."""

    __slots__ = ("write",)

    def __init__(self, into: list[Any]) -> None:
        self.write = into.append


def _Pickler(into: list[Any], apart: Callable[[pickle.PickleBuffer], bool]) -> Any:  # noqa: N802 - a maker of them
    """Make a pickler that knows large data by sight, and what multiprocessing knows, where that is loaded."""
    file: Any = _File(into)
    array = _array_type()
    ours = {memoryview: views.reduce_view, **({} if array is None else {array: _reduce_array})}
    if "multiprocessing.connection" in sys.modules:
        forking: Any = sys.modules["multiprocessing.reduction"].ForkingPickler
        pickler = forking(file, pickling.PROTOCOL, True, apart)  # which takes nothing by name
        pickler.dispatch_table = {**copyreg.dispatch_table, **forking._extra_reducers, **ours}
    else:
        pickler = pickle.Pickler(file, pickling.PROTOCOL, buffer_callback=apart)
        pickler.dispatch_table = {**copyreg.dispatch_table, **ours}
    return pickler


def _held(written: list[Any]) -> list[Piece] | None:
    """Keep what was written as it is; None if it is not any more what its pickle says."""
    pieces: list[Piece] = []
    for piece in written:
        if piece.__class__ is bytes:
            pieces.append(piece)
            continue
        view = memoryview(piece)  # from here on nobody can change its size
        # Before it stands how long it is: BYTEARRAY8 has eight bytes for that.
        if piece.__class__ is bytearray and pieces[-1][-8:] != len(view).to_bytes(8, "little"):
            return None
        pieces.append(view)
    return pieces


def _reduce_array(array: Any) -> tuple[Any, ...]:
    return _make_array, (array.typecode, pickle.PickleBuffer(array))


def _make_array(typecode: str, buffer: Any) -> Any:
    import array

    made: array.array[Any] = array.array(typecode)
    made.frombytes(buffer)
    return made


# ------------------------------------------------------------------------------ in


def loads(pieces: Sequence[memoryview], buffers: Sequence[Any]) -> Any:
    """Unpickle what lies in pieces, one behind the other, with the buffers beside them."""
    if len(pieces) == 1 and len(pieces[0]) < _READ_IN_PIECES:
        return pickling.loads(pieces[0], buffers=buffers)
    file: Any = _Reader(pieces)
    return pickle.Unpickler(file, buffers=buffers).load()


class _Reader:
    """A file to unpickle from: gives parts of memory as they lie there, and fills what is large."""

    __slots__ = ("_at", "_here", "_pieces")

    def __init__(self, pieces: Sequence[memoryview]) -> None:
        self._pieces = iter(pieces)
        self._here: memoryview[int] = next(self._pieces)
        self._at = 0

    def read(self, size: int) -> memoryview | bytearray:
        """Give so many bytes."""
        at = self._at
        if at + size <= len(self._here):
            self._at = at + size
            return self._here[at : at + size]
        data = bytearray(size)  # they lie in two pieces or more
        self.readinto(memoryview(data))
        return data

    def readline(self) -> bytes:
        """Give a line, of which there are none in a pickle of ours."""
        raise NotImplementedError

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer."""
        if len(buffer) >= _HUGE_FROM:
            from workpool.ipc.addresses import ask_for_large_pages

            ask_for_large_pages(buffer)
        filled = 0
        while filled < len(buffer):
            if self._at == len(self._here):
                self._here, self._at = next(self._pieces, self._here[:0]), 0
                if not len(self._here):
                    break  # the pickle is cut off, as the unpickler says
            part = self._here[self._at : self._at + len(buffer) - filled]
            buffer[filled : filled + len(part)] = part
            filled += len(part)
            self._at += len(part)
        return filled
