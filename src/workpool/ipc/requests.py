"""What goes between a program and its keeper: requests with descriptors, and words of status in return.

A request is one byte on a socket. With it go the write end of a status pipe and the
descriptors of the worker that is to be started.
"""

from __future__ import annotations

import _socket  # what is behind ``socket``; see the keeper
import errno
import os
import struct
import sys
from contextlib import suppress

__all__ = ["MOST_FDS", "read_status", "receive", "send", "write_status"]

MOST_FDS = 250  # the kernel sends hardly more at once
_WORD = struct.Struct("<q")
_INT = struct.Struct("i")
# Who sends to a keeper that is gone hears of it, and gets no SIGPIPE, which ends a program that does not ignore it.
_NO_SIGNAL = getattr(_socket, "MSG_NOSIGNAL", 0)


def send(fd: int, method: bytes, fds: list[int]) -> None:
    """Send one request: one byte, and descriptors with it."""
    conn = _socket.socket(fileno=fd)
    try:
        rights = _socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds)
        conn.sendmsg([method], [rights], _NO_SIGNAL)
    finally:
        conn.detach()


def receive(conn: _socket.socket, spare: list[int], parent: int) -> tuple[bytes, list[int]]:
    """Take one request: one byte, and the descriptors that came with it.

    Without room for them all, the kernel gives the first ones. There is always room for one, in the place of the
    spare: the status pipe, through which the parent is told. Then none are given here.
    """
    _follow_limit(parent)
    flags = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)
    while spare:
        os.close(spare.pop())
    try:
        method, ancillary, flags, _ = conn.recvmsg(
            1, _socket.CMSG_SPACE(_INT.size * MOST_FDS), flags
        )
    except ConnectionResetError:
        return b"", []
    fds: list[int] = []
    for level, kind, data in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            fds += (fd for (fd,) in _INT.iter_unpack(data[: len(data) // _INT.size * _INT.size]))
    if flags & _socket.MSG_CTRUNC:
        for fd in fds[:1]:
            with suppress(OSError):
                write_status(fd, -errno.EMFILE)
        while fds:
            os.close(fds.pop())
    with suppress(OSError):  # the request has taken the last one: the next will be told, or not
        spare.append(os.dup(conn.fileno()))
    for fd in fds:
        os.set_inheritable(fd, False)
    return method, fds


def _follow_limit(parent: int) -> None:
    """Be allowed as many descriptors as the program is by now, and so are the workers, if that is more than before."""
    resource = sys.modules.get("resource")
    prlimit = getattr(resource, "prlimit", None)  # Linux
    if resource is None or prlimit is None:
        return
    with suppress(OSError):
        soft, _ = prlimit(parent, resource.RLIMIT_NOFILE)
        mine, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if mine < soft <= most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


def read_status(fd: int) -> int | None:
    """Read a word from a status pipe, or None at its end."""
    data = b""
    while len(data) < _WORD.size:
        more = os.read(fd, _WORD.size - len(data))
        if not more:
            return None
        data += more
    return int(_WORD.unpack(data)[0])


def write_status(fd: int, word: int) -> None:
    """Write a word to a status pipe: a pid, an exit code, or minus an errno."""
    os.write(fd, _WORD.pack(word))
