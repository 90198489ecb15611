"""Messages on a pipe: a length, plain data, and large payloads behind it.

A frame is ``length of header, length of all, header, payloads``. The header is
plain data (numbers, strings, bytes, tuples, lists) in the interpreter's own
``marshal`` format: both ends are the same Python, it runs no code, and it can
be read whatever the payloads hold. A payload is a pickle; a large one lies
behind the header instead of in it, so it is not copied into it.

One thread writes to a pipe and one reads from it, at a time.
"""

from __future__ import annotations

import marshal
import os
import select
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["AT_ONCE", "LARGE", "FrameReader", "FrameWriter", "pack", "unpack_payload", "write_all"]

LARGE = 1 << 16  # bytes: a payload from this size on lies behind the header
AT_ONCE: int = getattr(
    select, "PIPE_BUF", 512
)  # bytes: so short a write to a pipe is all or nothing
_HEAD = struct.Struct("<QQ")
_READ_AT_ONCE = 1 << 16  # bytes of one read
_MOST_AT_ONCE = 1 << 20  # bytes of one read into a large frame: what a pipe holds at most
_NOTHING = memoryview(b"")
_MOST_PIECES = 64  # pieces of one writev, well below every system's IOV_MAX


def pack(message: Any, payloads: Iterable[bytes] = ()) -> list[bytes]:
    """Give the pieces of a frame, to be written one after the other."""
    header = marshal.dumps(message)
    size = len(header)
    behind = list(payloads)
    if not behind:
        return [_HEAD.pack(size, size) + header]
    return [_HEAD.pack(size, size + sum(map(len, behind))) + header, *behind]


def unpack_payload(part: Any, behind: memoryview, at: int) -> tuple[Any, int]:
    """Give a payload and where the next one begins.

    In the header stands the payload itself (bytes, or a note of where it was laid down),
    the length of one that lies behind, or a list of lengths: of a pickle and its buffers.
    """
    if part.__class__ is int:
        return behind[at : at + part], at + part
    if part.__class__ is list:
        pieces: list[memoryview] = []
        for length in part:
            pieces.append(behind[at : at + length])
            at += length
        return pieces, at
    return part, at


class FrameReader:
    """Cuts what comes out of a pipe into frames."""

    __slots__ = ("_fd", "_have", "_parts")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._parts: list[bytes] = []  # read and not yet cut
        self._have = 0

    def read_once(self) -> bool:
        """Read what is there (or wait for it, on a blocking pipe); False at its end."""
        data = os.read(self._fd, _MOST_AT_ONCE if self._have >= _READ_AT_ONCE else _READ_AT_ONCE)
        if not data:
            return False
        self._parts.append(data)
        self._have += len(data)
        return True

    def next_frame(self) -> tuple[Any, memoryview] | None:
        """Give the next whole frame as header and payloads, or None."""
        if self._have < 16:
            return None
        parts = self._parts
        if len(parts[0]) < 16:
            parts[:] = [b"".join(parts)]
        header_size, total = _HEAD.unpack_from(parts[0])
        whole = 16 + total
        if self._have < whole:
            return None
        if len(parts) > 1:
            parts[:] = [b"".join(parts)]
        data = parts[0]
        if len(data) == whole:
            parts.clear()
            self._have = 0
        else:
            parts[0] = data[whole:]
            self._have -= whole
        header = marshal.loads(memoryview(data)[16:])  # noqa: S302 - of our own process family
        if header_size == total:
            return header, _NOTHING
        return header, memoryview(data)[16 + header_size : whole]


class FrameWriter:
    """Writes frames to a blocking pipe; one that an exception tears is the last.

    The handler of a signal may raise at any moment, also while a frame is being written.
    Nobody knows then how much of it went through, so nothing may be written behind it: the
    reader would read on in the middle of another frame. Every later write is an OSError.
    """

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def torn(self) -> bool:
        """Whether a frame was left unfinished; in the middle of one it is so, too."""
        return self._fd < 0

    def write(self, pieces: list[bytes]) -> None:
        """Write the pieces of a frame, whole."""
        if len(pieces) == 1 and len(pieces[0]) <= AT_ONCE:
            os.write(self._fd, pieces[0])
            return
        fd, self._fd = self._fd, -1
        write_all(fd, pieces)
        self._fd = fd


def write_all(fd: int, pieces: list[bytes]) -> None:
    """Write the pieces of a frame to a blocking pipe, whole."""
    if len(pieces) == 1 and len(pieces[0]) <= AT_ONCE:
        os.write(fd, pieces[0])
        return
    left: list[Any] = [memoryview(piece) for piece in pieces if piece]
    while left:
        written = os.writev(fd, left[:_MOST_PIECES])
        left = drop_written(left, written)


def drop_written(pieces: list[Any], written: int) -> list[Any]:
    """Give what is left of the pieces after so many bytes of them were written."""
    at = 0
    while at < len(pieces) and written >= len(pieces[at]):
        written -= len(pieces[at])
        at += 1
    rest = pieces[at:]
    if written:
        rest[0] = rest[0][written:]
    return rest
