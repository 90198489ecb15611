"""Large payloads, the sender's side: laid into memory that the receiver has open, not into a pipe.

A *depot* is a file of memory without a name. Who sends a payload lays it into a
*room* of it: into a new one with a plain write, into one that was used before with a copy
(``windows.py``). Either lets other threads run meanwhile, and says so when memory runs out; then
the payload goes through the pipe after all. What travels is a *parcel note*: where it lies, and how long its
pieces are. Who receives it maps it and uses it where it lies (``borrowing.py``).

When a room is used again
    A sender has one byte for each parcel that a receiver may have mapped, in
    memory that both share (`Slots`). The sender sets it before the note is sent;
    the receiver clears it when the last object in that memory is gone. A room
    is free when its parcel is no longer wanted here and all its bytes are clear.
    Memory that was used before takes a payload several times as fast as new memory.

What a kill leaves behind
    Sender killed: its depot ends with the last mapping of it; what was mapped stays
    as it is. Receiver killed: its bytes stay set, and are declared void by who learns of
    the death. Only the sender finds rooms, so there is no state that two share but these bytes.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from workpool._compat import RLock
from workpool.ipc import nameless, pickling
from workpool.ipc import pieces as in_pieces
from workpool.ipc.frames import drop_written
from workpool.ipc.windows import WINDOW, Windows
from workpool.midway import held_here, known

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Sequence

    from workpool.ipc.pieces import Piece

__all__ = [
    "CAN_LEND",
    "CONTROL_SIZE",
    "Depot",
    "Note",
    "Parcel",
    "Slots",
    "dump_note",
    "open_depot",
    "read_into",
]

# Elsewhere a file without a name lies on a disk, and a pipe is faster.
CAN_LEND = nameless.MEMFD
_LENT_FROM = in_pieces.LARGE  # bytes: smaller payloads are quicker through the pipe

Note: TypeAlias = "tuple[int, ...]"  # offset, slot, length of each piece
_SLOTS = 2_048  # parcels that one receiver may have at a time
CONTROL_SIZE = 2 * _SLOTS  # bytes: the slots of both directions, at the start of a worker's depot
_LINE = 64  # pieces begin on a cache line
_STEP = 1 << 16  # rooms are whole multiples of this
_KEPT = (
    64 << 20
)  # bytes of free rooms that keep their memory, or twice the latest payload if that is more


class Slots:
    """Which parcels one receiver has: a byte each, in memory shared with it.

    Parameters
    ----------
    memory : mmap.mmap
        The shared memory.
    start : int
        Where in it the bytes begin.
    """

    SIZE = _SLOTS

    __slots__ = ("_memory", "_start", "_void")

    def __init__(self, memory: mmap.mmap, start: int) -> None:
        self._memory = memory
        self._start = start
        self._void = False  # one side is dead, and the other has closed the memory

    def take(self) -> int:
        """Set the byte of a free slot; gives its number, or -1. Called by one thread at a time."""
        at = self._memory.find(b"\0", self._start, self._start + _SLOTS)
        if at < 0:
            return -1
        self._memory[at] = 1
        return at - self._start

    def is_taken(self, slot: int) -> bool:
        """Tell whether the receiver may still have what was sent with that slot."""
        try:
            return not self._void and self._memory[self._start + slot] != 0
        except ValueError:  # declared void this moment
            return False

    def any_taken(self) -> bool:
        """Tell whether the receiver may have anything."""
        return not self._void and self._memory.find(b"\1", self._start, self._start + _SLOTS) >= 0

    def clear(self, slot: int) -> None:
        """Say that the parcel is not, or never was, with the receiver; by either side."""
        if not self._void:
            with suppress(ValueError):  # declared void this moment
                self._memory[self._start + slot] = 0

    def declare_void(self) -> None:
        """Hear that the other side is dead: whatever was sent is not with it any more."""
        self._void = True
        self._memory.close()


class Parcel:
    """A payload in a room; the room is given back when this is gone and nobody has it mapped."""

    __slots__ = ("_depot", "_lengths", "_lent", "_room")

    def __init__(self, depot: Depot, room: tuple[int, int], lengths: tuple[int, ...]) -> None:
        self._depot = depot
        self._room = room
        self._lengths = lengths
        self._lent: list[tuple[Slots, int]] = []

    def __del__(self) -> None:
        # Runs in the middle of anything: there, no lock is safe.
        self._depot.returned.append((self._room, self._lent))

    def note_for(self, slots: Slots) -> Note | None:
        """Give what the receiver needs to find it; None when it has too much already."""
        slot = slots.take()
        if slot < 0:
            return None
        self._lent.append((slots, slot))
        return (self._room[0], slot, *self._lengths)

    def read(self) -> list[bytearray]:
        """Give the pieces, to be sent another way."""
        pieces: list[bytearray] = []
        at = self._room[0]
        for length in self._lengths:
            pieces.append(self._depot.read(at, length))
            at += _padded(length)
        return pieces


def dump_note(depot: Depot, slots: Slots, value: Any) -> bytes | Note:
    """Pickle a value, or lay it down and give the note that tells a receiver where."""
    payload = depot.dump(value)
    if isinstance(payload, bytes):
        return payload
    note = payload.note_for(slots)
    return pickling.dumps(value) if note is None else note


def open_depot(kind: Callable[[int], Depot] | None = None) -> Depot | None:
    """Make a depot; None where there is no way to, or no descriptor left: then all goes through pipes."""
    if not CAN_LEND:
        return None
    try:
        return (kind or Depot)(nameless.make("depot"))
    except OSError as error:
        if error.errno is None:  # what strikes from outside, as the end of a time limit does
            raise
        return None


class Depot:
    """The memory of one sender.

    Parameters
    ----------
    fd : int
        A file of `nameless.make`, which is the depot's from now on.
    start : int
        Where the rooms begin: a multiple of the page size.
    """

    def __init__(self, fd: int, start: int = 0) -> None:
        self.fd = fd
        self._windows = Windows(fd)
        self._lock = known(RLock(), self)  # guards all below, but not `returned`
        self._users = 0  # threads that use the file just now; the last one closes it
        self._closed = False
        self._end = start
        self._free: list[tuple[int, int]] = []  # (offset, size), by offset, no two adjacent
        self._out: list[tuple[tuple[int, int], list[tuple[Slots, int]]]] = []  # with receivers only
        self.returned: deque[tuple[tuple[int, int], list[tuple[Slots, int]]]] = deque()

    def dump(self, value: Any, *, by_value: bool = False) -> bytes | Parcel:
        """Pickle a value; a large one is laid down, if there is memory for it."""
        pieces: Sequence[Piece]
        buffers: list[memoryview] = []
        if in_pieces.heavy(value):
            pieces, buffers = in_pieces.dumps(value, by_value=by_value)
        else:
            data = pickling.dumps(value, by_value=by_value, buffers=buffers)
            if not buffers and len(data) < _LENT_FROM:
                return data
            pieces = [data]
        parcel = self.lay_down(pieces, buffers)
        if parcel is not None:
            return parcel
        if buffers or len(pieces) > 1:
            return pickling.dumps(value, by_value=by_value)
        return bytes(pieces[0])  # as it is: of bytes it makes no copy

    def lay_down(self, pieces: Sequence[Piece], buffers: Sequence[memoryview]) -> Parcel | None:
        """Copy a payload, pickle and buffers, into a room; None when there is no memory for it."""
        if held_here():
            return None  # by a finalizer in the middle of a step: our lock may be the one that it holds
        lengths = (sum(map(len, pieces)), *map(len, buffers))
        need = -(-sum(map(_padded, lengths)) // _STEP) * _STEP
        if not self._enter():
            return None
        try:
            with self._lock:
                self._take_back(need)
                room, used = self._find(need)
                if used:
                    self._round_up()
            parcel = Parcel(self, room, lengths)
            padded = _with_padding(pieces, buffers)
            if not used or not self._windows.copy(padded, room[0]):
                _write(self.fd, padded, room[0])
        except OSError as error:
            if error.errno is None:  # as above
                raise
            return None
        finally:
            self._leave()
        return parcel

    def read(self, offset: int, length: int) -> bytearray:
        """Copy part of a room out again.

        Raises
        ------
        OSError
            The depot is closed; its number may be another file's.
        """
        if not self._enter():
            raise OSError(errno.EBADF, "the memory of large arguments is closed")
        try:
            data = bytearray(length)
            read_into(self.fd, data, offset)
        finally:
            self._leave()
        return data

    def trim(self) -> None:
        """Give the memory of all free rooms back to the system."""
        if self._enter():
            try:
                with self._lock:
                    self._take_back(0)
                    self._dry(0)
                    self._windows.close()
            finally:
                self._leave()

    def close(self) -> None:
        """Take no more payloads; the memory ends with the last who has it mapped."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            last = not self._users
            self._windows.close()
        if last:
            os.close(self.fd)

    def _enter(self) -> bool:
        """Keep the file open until `_leave`; False if it is closed: its number may be another file's."""
        with self._lock:
            if not self._closed:
                self._users += 1
            return not self._closed

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._closed and not self._users
        if last:
            os.close(self.fd)

    # ----------------------------------------------------------------- with the lock held

    def _find(self, need: int) -> tuple[tuple[int, int], bool]:
        """Give the smallest free room that is large enough, or a new one; and whether it was used before."""
        fitting = [(size, at) for at, (_, size) in enumerate(self._free) if size >= need]
        if not fitting:
            room = (self._end, need)
            self._end += need
            return room, False
        size, at = min(fitting)
        offset, _ = self._free[at]
        if size == need:
            del self._free[at]
        else:
            self._free[at] = (offset + need, size - need)
        return (offset, need), True

    def _round_up(self) -> None:
        """Have the file end with a window. Nobody writes beyond the rooms there are, so this never shortens it."""
        end = -(-self._end // WINDOW) * WINDOW
        try:
            if os.fstat(self.fd).st_size < end:
                os.truncate(self.fd, end)
        except OSError as error:
            if error.errno is None:  # as above; else there is no window, and it is a write
                raise

    def _take_back(self, need: int) -> None:
        """Free the rooms that nobody uses any more; most of their memory is kept for the next payloads."""
        waiting = self._out
        while self.returned:
            waiting.append(self.returned.popleft())
        self._out = []
        freed = False
        for room, lent in waiting:
            if any(slots.is_taken(slot) for slots, slot in lent):
                self._out.append((room, lent))
            else:
                self._free.append(room)
                freed = True
        if freed:
            self._join_neighbours()
            self._dry(max(_KEPT, 2 * need))

    def _join_neighbours(self) -> None:
        joined: list[tuple[int, int]] = []
        for offset, size in sorted(self._free):
            if joined and sum(joined[-1]) == offset:
                joined[-1] = (joined[-1][0], joined[-1][1] + size)
            else:
                joined.append((offset, size))
        self._free = joined

    def _dry(self, most: int) -> None:
        """Give memory back until free rooms have no more than that; their addresses are not used again."""
        kept = sum(size for _, size in self._free)
        while self._free and kept > most:
            offset, size = self._free.pop()
            nameless.release(self.fd, offset, size)
            kept -= size


def _padded(length: int) -> int:
    return -(-length // _LINE) * _LINE


def _with_padding(pieces: Sequence[Piece], buffers: Sequence[memoryview]) -> list[memoryview]:
    padded = [memoryview(piece) for piece in pieces]
    length = sum(map(len, padded))
    for buffer in buffers:
        padded += [memoryview(bytes(_padded(length) - length)), buffer]
        length = len(buffer)
    padded.append(memoryview(bytes(_padded(length) - length)))
    return [piece for piece in padded if len(piece)]


def read_into(fd: int, data: bytearray, offset: int) -> None:
    """Fill it from a file, which one read may not do: it gives 2 GiB at most."""
    view = memoryview(data)
    have = 0
    while have < len(data):
        have += os.preadv(fd, [view[have:]], offset + have)


def _write(fd: int, left: list[memoryview], offset: int) -> None:
    while left:
        written = os.pwritev(fd, left[:64], offset)
        offset += written
        left = drop_written(left, written)
