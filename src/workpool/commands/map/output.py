"""Whole lines, whatever happens: a reader of the output never sees half a result.

Ctrl-C that comes while a line is written waits until the line is out; a second one does
not. Lines that go to the terminal where a progress bar stands are written above it.

What the functions print is no result. Unless a person reads it on a terminal, stdout leads
to stderr meanwhile: its descriptor does, which threads write to and worker processes inherit.
The results go out by a copy of it that nobody inherits.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from contextlib import ExitStack
from typing import Any, Self, TextIO

from workpool.commands.map.work import as_ascii
from workpool.commands.streams import silence, writing
from workpool.integrations.progress.above import write_above

__all__ = ["Output"]

STDERR = 2


class Output:
    """Writes results to stdout."""

    def __init__(self) -> None:
        self._writing = False
        self._struck = False
        self._stream: TextIO = sys.stdout
        self._descriptor: int | None = None  # where results go, if that is no terminal
        self._at_the_end = ExitStack()
        self.is_terminal = False

    def __enter__(self) -> Self:
        with writing():
            self._stream.flush()
            self.is_terminal = self._stream.isatty()
            if not self.is_terminal:
                self._keep_for_results()
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            before = signal.signal(signal.SIGINT, self._strike)
            self._at_the_end.callback(signal.signal, signal.SIGINT, before)
        return self

    def __exit__(self, *_: object) -> None:
        self._at_the_end.close()

    def _keep_for_results(self) -> None:
        try:
            known = self._stream.fileno()
        except (OSError, ValueError):  # no file: a test's, or a program's own
            return
        self._descriptor = os.dup(known)
        self._at_the_end.callback(os.close, self._descriptor)
        os.dup2(STDERR, known)
        # What is printed comes line by line, as on stderr, where the stream can be told so.
        buffered: Any = getattr(self._stream, "reconfigure", None)
        self._at_the_end.callback(self._give_back, known, buffered)
        if buffered is not None:
            buffered(line_buffering=True)

    def _give_back(self, known: int, buffered: Any) -> None:
        if self._descriptor is None or self._stream.closed:
            return  # a function has closed it, and the number may be another file's
        try:
            self._stream.flush()
        except OSError:  # stderr takes no more: what was printed goes nowhere
            silence(self._stream)
            self._stream.flush()
        if buffered is not None:
            buffered(line_buffering=False)
        os.dup2(self._descriptor, known)

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
            try:
                line.encode(self._stream.encoding or "utf-8")
            except UnicodeEncodeError:
                line = as_ascii(line)
            write_above(line, self._stream)
            return
        data = memoryview(line.encode() + b"\n")
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # whoever gave it to us does not like to wait; we have to
                select.select([], [self._descriptor], [])

    def _strike(self, *_: object) -> None:
        if self._writing and not self._struck:
            self._struck = True
        else:
            raise KeyboardInterrupt
