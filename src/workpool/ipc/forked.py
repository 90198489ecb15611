"""What a worker sheds that is forked from the very process of the pool.

Of the program's threads only the one that forked is there. What another of them held at that moment
stays held: a lock of ``multiprocessing``, or the one in an output stream that was just being written
to. And what the program has started with ``multiprocessing`` are no children of the worker: at its end it
would terminate those that are daemons, as ``multiprocessing`` does with a process's own.
"""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from typing import Any

from workpool.situation import here

__all__ = ["shed"]

# Streams that are replaced. Let go of, one would be flushed, for which it needs its lock.
_replaced: list[Any] = []


def shed() -> None:
    """Let go of what belongs to the threads and the children of the program; at the start of the worker."""
    here.worker = here.situation = None  # of the thread that forked
    here.below = here.calls_back = ()
    printing: Any = sys.modules.get("workpool.printing")
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        # One that tells threads of other pools from the rest.
        if printing is not None and isinstance(stream, printing.Routed):
            stream = stream._stream
            setattr(sys, name, stream)
        with suppress(OSError, ValueError):  # detached, closed, or without a file
            if _has_a_lock(stream):
                _replace(name, stream, stream.buffer.raw.fileno())
    _leave_family()


def _has_a_lock(stream: Any) -> bool:
    buffer: Any = getattr(stream, "buffer", None)
    return isinstance(stream, io.TextIOWrapper) and isinstance(buffer, io.BufferedWriter)


def _replace(name: str, stream: Any, fd: int) -> None:
    """Write to the same file through a stream of our own; what waits in the old one, the program writes."""
    raw = io.FileIO(fd, "w", closefd=False)
    fresh = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    _replaced.append(stream)
    setattr(sys, name, fresh)
    if getattr(sys, f"__{name}__") is stream:
        setattr(sys, f"__{name}__", fresh)
    logging: Any = sys.modules.get("logging")
    for reference in [] if logging is None else list(logging._handlerList):
        handler = reference()
        if getattr(handler, "stream", None) is stream:
            handler.stream = fresh


def _leave_family() -> None:
    """Do what a child of ``multiprocessing`` does at its start; the names are private, and in no stub."""
    process: Any = sys.modules.get("multiprocessing.process")
    util: Any = sys.modules.get("multiprocessing.util")
    if process is not None:
        process._children = set()
    if util is not None:
        util._finalizer_registry.clear()
        util._run_after_forkers()
