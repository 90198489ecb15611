"""Whole lines, whatever happens: a reader of the output never sees half a result.

Ctrl-C that comes while a line is written waits until the line is out; a second one does
not. Lines that go to the terminal where a progress bar stands are written above it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any, Self

from workpool.commands.streams import writing
from workpool.integrations.progress.above import write_above

__all__ = ["Output"]


class Output:
    """Writes results to stdout."""

    def __init__(self) -> None:
        self._writing = False
        self._struck = False
        self._before: Any = None
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        with writing():
            sys.stdout.flush()
        if not sys.stdout.isatty():
            try:
                self._descriptor = sys.stdout.fileno()
            except (OSError, ValueError):  # no file: a test's, or a program's own
                pass
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._strike)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def write(self, line: str) -> None:
        """Write a result."""
        self._writing = True
        try:
            with writing():
                self._write(line)
        finally:
            self._writing = False
            if self._struck:
                self._struck = False
                raise KeyboardInterrupt

    def _write(self, line: str) -> None:
        if self._descriptor is None:
            write_above(line, sys.stdout)
            return
        data = memoryview(line.encode() + b"\n")
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _strike(self, *_: object) -> None:
        if self._writing and not self._struck:
            self._struck = True
        else:
            raise KeyboardInterrupt
