"""The parent's end of the pipe that a worker's reports come up; see ``reporting.py`` for the other."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import count
from typing import Any

from workpool.ipc.frames import FrameReader

__all__ = ["NO_REPORTS", "ReportPipe"]

_READS = 4  # of 64 KiB each: more than is in such a pipe, which is of the usual width


class ReportPipe:
    """Gives the reports that are there."""

    __slots__ = ("_reader", "ended", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ended = False  # its end was read: nothing more will come
        self._reader = FrameReader(fd)
        if fd >= 0:
            os.set_blocking(fd, False)

    def receive(self, *, to_the_end: bool = False) -> list[tuple[Any, memoryview]]:
        """Read what is there; from a worker that lives, no more than the pipe holds at once."""
        frames: list[tuple[Any, memoryview]] = []
        reader = self._reader
        with suppress(BlockingIOError):
            for _ in count() if to_the_end else range(_READS):
                if not reader.read_once():
                    self.ended = True
                    break
                while (frame := reader.next_frame()) is not None:
                    frames.append(frame)
        return frames

    def close(self) -> None:
        """Close it, if there is one."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


NO_REPORTS = ReportPipe(-1)
