"""What a worker process reports beside outcomes: log records, and what its calls print.

Reports have a pipe of their own. The lock of the pipe for outcomes would not do: a
finalizer that logs while that is held would wait for itself.

Guarantees
- A report is in the pipe before the call that made it goes on. A kill at any moment
  leaves every report before it, whole, and at most a part of the one being written.
- So the reports of a call are in the pipe before its outcome is in the other, and who
  reads that outcome first and then this pipe has them all.
- Reports of one thread arrive in order. A report made in the middle of another by the
  same thread (by a finalizer, a signal's handler) is written right behind it.
- A large report that an exception tears (a signal's, in the middle of it) is the last one of
  this worker: behind part of it nothing could be read.
"""

from __future__ import annotations

import io
import os
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from workpool import tasklog
from workpool._compat import RLock
from workpool.ipc.frames import FrameWriter, pack
from workpool.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.situation import Situation

__all__ = ["PRINTED", "RECORD", "Reporter"]

RECORD, PRINTED = 30, 31  # kinds of reports


class Reporter:
    """The worker's end of the pipe for reports."""

    def __init__(self, fd: int, running: Callable[[], int]) -> None:
        self._writer = FrameWriter(fd)
        self._running = running  # number of the call that runs, -1 if it has none of its own
        self._process = os.getpid()
        self._waiting: deque[list[bytes]] = deque()  # frames; each append and popleft is one step
        self._lock = RLock()  # guards _writing, and so the pipe
        self._writing = False

    def begin(self, asked: dict[str, Any], situation: Situation) -> None:
        """Do what the parent asked for: forward records, capture what is printed."""
        if asked["levels"] is not None:
            tasklog.name_tasks()
            self.set_levels(asked)
            tasklog.forward(self._record)
        if asked["capture"]:
            for which, name in enumerate(("stdout", "stderr")):
                raw = _Raw(self, which, situation, getattr(sys, name))
                stream = io.TextIOWrapper(
                    raw,  # type: ignore[type-var]  # it has what a stream that is written through needs
                    encoding="utf-8",
                    errors="backslashreplace",
                    newline="",
                    write_through=True,
                )
                setattr(sys, name, stream)

    @staticmethod
    def set_levels(asked: dict[str, Any]) -> None:
        """Give loggers the levels that they have in the parent."""
        if asked["levels"] is not None:
            tasklog.take_levels(asked["levels"])

    def printed(self, which: int, text: str, situation: Situation) -> None:
        """Report what was printed."""
        self.send(
            (
                PRINTED,
                which,
                self._running(),
                situation.task_id(),
                plain(situation.task_name()),
                text,
            )
        )

    def _record(self, data: bytes) -> None:
        self.send((RECORD, data))

    def send(self, message: Any) -> None:
        """Write a report; see the guarantees above."""
        if os.getpid() != self._process:
            return  # a fork of the worker: two who write would tear each other's reports
        self._waiting.append(pack(message))
        with self._lock:
            if self._writing:
                return  # made in the middle of another one, which goes on when we return
            self._writing = True
            try:
                with suppress(BrokenPipeError):  # the parent is gone, and so are we in a moment
                    while self._waiting:
                        report = self._waiting.popleft()
                        if not self._writer.torn:
                            self._writer.write(report)
            finally:
                self._writing = False


class _Raw(io.RawIOBase):
    """The bytes below ``sys.stdout`` or ``sys.stderr`` of a worker whose output is captured."""

    def __init__(self, reporter: Reporter, which: int, situation: Situation, before: Any) -> None:
        self._reporter = reporter
        self._which = which
        self._situation = situation
        self._before = before  # kept open: what C code and children print still goes there

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        text = bytes(data).decode("utf-8", "replace")
        self._reporter.printed(self._which, text, self._situation)
        return len(data)

    def fileno(self) -> int:
        number: int = self._before.fileno()
        return number
