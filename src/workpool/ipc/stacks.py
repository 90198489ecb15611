"""Stacks of a worker process, the parent's side: asked for while it lives, and left behind when it crashes.

What comes down the pipe (see ``stacksignal.py``) has no end mark. So two dumps are
asked for, and the first is whole when a thread turns up for the second time: while one is
written, the request for the other waits.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from workpool._compat import Lock
from workpool.ipc.stackdump import crashed, threads_of
from workpool.ipc.stacktext import render, trimmed

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.ipc.stacktext import Place

__all__ = ["Stacks"]

_SERVING = os.path.join(os.path.dirname(os.path.abspath(__file__)), "serving.py")
_FATAL = "Fatal Python error: "
_CRASHES = {
    -int(number)
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGBUS, signal.SIGILL)
}


class Stacks:
    """The reading end of a worker's pipe.

    Parameters
    ----------
    fd : int
        The pipe, which belongs to this object from now on.
    request : callable
        Has the worker write its stacks down; an OSError when it cannot hear.
    """

    def __init__(self, fd: int, request: Callable[[], object]) -> None:
        self._lock = Lock()  # guards all below; held from ask to answer
        self._fd = fd
        self._request = request
        self._main: int | None = None  # the thread that runs tasks, once it listens
        os.set_blocking(fd, False)

    def ask(self) -> bool:
        """Ask the worker for its stacks; False when it cannot hear. With True, ``answer`` must be called."""
        self._lock.acquire()
        if self._fd >= 0:
            self._listen(self._read())  # and forget what nobody waited for
            if self._main is not None:
                with suppress(OSError):
                    self._request()
                    return True
        self._lock.release()
        return False

    def answer(self, until: float) -> str | None:
        """Wait for the stack of the thread that runs tasks; None when it does not come in time."""
        threads = self._threads(until)
        return None if threads is None else render(trimmed(threads.get(self._main or 0, [])))

    def all_threads(self, until: float) -> str | None:
        """Wait for the whole stacks of all threads that are not the library's own; None likewise."""
        threads = self._threads(until)
        if threads is None:
            return None
        return "".join(
            f"Thread {ident:#x} (most recent call last):\n{render(places)}"
            for ident, places in threads.items()
            if not any(place.name == "_obey" and place.file == _SERVING for place in places)
        )

    def _threads(self, until: float) -> dict[int, list[Place]] | None:
        try:
            poller = select.poll()
            poller.register(self._fd, select.POLLIN)
            text = ""
            while True:
                left = until - monotonic()
                if left <= 0 or not poller.poll(left * 1000):
                    return None
                data = self._read()
                if not data:
                    return None  # it has ended
                if not text:
                    with suppress(OSError):
                        self._request()  # it waits while the first is being written
                text += data
                threads, whole = threads_of(text)
                if whole:
                    return threads
        finally:
            self._lock.release()

    def crash(self, exitcode: int | None) -> tuple[str, str]:
        """Give the last stack of a worker that crashed, and in words where that was; empty when unknown."""
        if exitcode not in _CRASHES:
            return "", ""
        with self._lock:
            text = self._read() if self._fd >= 0 else ""
        # The last one: a child of the worker may have left others, through the same pipe.
        _, fatal, dump = text.rpartition(_FATAL)
        places = crashed(dump) if fatal else []
        if not places:
            return "", ""
        last = places[-1]
        return render(trimmed(places) or places), f"{last.name} ({last.file}:{last.line})"

    def close(self) -> None:
        """Close the pipe, when nobody waits for an answer any more."""
        with self._lock:
            self._close()

    def close_in_child(self) -> None:
        """Close the pipe in a forked child, where whoever waits for an answer is not."""
        self._lock = Lock()
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _listen(self, text: str) -> None:
        if self._main is None and text.startswith("listening "):
            self._main = int(text.split("\n", 1)[0].split()[1], 16)

    def _read(self) -> str:
        data = b""
        with suppress(BlockingIOError):
            while more := os.read(self._fd, 1 << 16):
                data += more
        return data.decode(errors="replace")
