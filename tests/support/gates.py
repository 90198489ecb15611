"""Gates: a task stops at one, the test sees it there and lets it go on.

One kind of gate serves every backend, because its name is all that travels: the
path of a socket. A task connects and says a word; the test accepts and reads the
word, and so knows that the task is there. Opening closes the socket for good, and
whoever waits at it, or comes later, goes on. Nothing is polled, every wait has a
deadline, and a worker that is killed at a gate leaves nothing behind.
"""

from __future__ import annotations

import _socket
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from typing_extensions import ParamSpec

__all__ = ["DEADLINE", "Gate", "Running", "in_background", "knock", "say", "stop"]

P = ParamSpec("P")
R = TypeVar("R")

# Seconds; what has not happened by then never will. A worker of an engine takes its time to come back.
DEADLINE = 60.0 if os.environ.get("WORKPOOL_TEST_BACKENDS") else 20.0


class Gate:
    """Where tasks stop until the test opens it; ``path`` is what a task is given."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="gate-")
        self.path = os.path.join(self._folder, "gate")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(1024)
        self._guests: list[socket.socket] = []
        self._opened = False

    def arrival(self, timeout: float = DEADLINE) -> str:
        """Wait until one more task is there, and give its word."""
        self._listener.settimeout(timeout)
        guest, _ = self._listener.accept()
        self._guests.append(guest)
        guest.settimeout(DEADLINE)  # who is there says the word at once, even if we only look
        word = b""
        while not word.endswith(b"\n"):
            part = guest.recv(4096)
            assert part, "a task went away in the middle of its word"
            word += part
        return word[:-1].decode()

    def arrivals(self, count: int, timeout: float = DEADLINE) -> list[str]:
        """Wait for so many tasks, and give their words as they came."""
        return [self.arrival(timeout) for _ in range(count)]

    def waiting(self) -> list[str]:
        """Give the words of those who are there now and were not met before."""
        words: list[str] = []
        while True:
            try:
                words.append(self.arrival(timeout=0.0))
            except BlockingIOError:
                return words

    def open(self) -> None:
        """Let everyone go on, those who come later too."""
        if self._opened:
            return
        self._opened = True
        shutil.rmtree(self._folder)
        self._listener.close()
        for guest in self._guests:
            guest.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()


class _Guest(socket.socket):
    """What a task says its word through, and waits at."""

    # A thread that is written off gets an exception anywhere, also before anyone could close this, or
    # while it is being closed. A step of C has no middle.
    __del__ = _socket.socket.close


def knock(gate: str, word: str) -> socket.socket | None:
    """Say a word at a gate; nothing is there to wait for if it is open."""
    guest = _Guest(socket.AF_UNIX)
    try:
        guest.connect(gate)
        guest.sendall(word.encode() + b"\n")
    except (FileNotFoundError, ConnectionError):
        guest.close()
        return None
    return guest


def say(gate: str, word: object = "") -> None:
    """Say a word at a gate and go on."""
    guest = knock(gate, str(word))
    if guest is not None:
        guest.close()


def stop(gate: str, word: object = "", timeout: float = DEADLINE) -> None:
    """Say a word at a gate and wait until it is opened; a TimeoutError when it is not."""
    guest = knock(gate, str(word))
    if guest is None:
        return
    with guest:
        guest.settimeout(timeout)
        try:
            guest.recv(1)
        except ConnectionError:
            pass  # opened before we were met


class Running(Generic[R]):
    """A call in a thread of its own, whose end is waited for with a deadline."""

    def __init__(self, call: Callable[[], R]) -> None:
        self._call = call
        self._value: Any = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="test-background", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error

    @property
    def ended(self) -> bool:
        """Whether the call has returned or raised."""
        return not self.thread.is_alive()

    def result(self, timeout: float = DEADLINE) -> R:
        """Wait for the call's end and give what it returned, or raise what it raised."""
        self.thread.join(timeout)
        assert self.ended, f"{self._call!r} did not end within {timeout} s"
        if self._error is not None:
            raise self._error
        value: R = self._value
        return value


def in_background(fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Running[R]:
    """Begin a call that may wait, in a thread of its own."""
    return Running(lambda: fn(*args, **kwargs))
