"""Doing something whole although an exception may strike in the middle of it.

Two kinds come from outside, between any two steps of a thread: the KeyboardInterrupt of a
Ctrl-C, in the main thread, and what is sent into a thread that is given up (`Target`). Where such a thread
does the books of a pool itself, it is noted and raised when the step is done; that is a
matter of microseconds. Other threads are never struck and pay nothing.
"""

from __future__ import annotations

import _thread
import importlib
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from workpool import _compat
from workpool._compat import RLock

__all__ = [
    "Listening",
    "Target",
    "calmly",
    "deaf_to_ctrl_c",
    "is_ctrl_c",
    "loudly",
    "ring_again",
]

R = TypeVar("R")

# The functions behind those of ``signal``, which build enumerations at each call; in no stub.
_signal: Any = importlib.import_module("_signal")
_SIGINT = int(signal.SIGINT)

_loud: list[Any] = []  # the handler that the user has, while the main thread is calm


class _Mine(threading.local):
    """What a thread has to itself."""

    target: Target | None = None


_mine = _Mine()


class Target:
    """A thread that may be given up: an exception is sent into it, once, and not into a step that is done whole.

    The lock guards the rest. Whoever sends has it while it looks and sends; the thread has it while it begins a
    step and while it ends one. So what is sent before a step begins is raised before it, and what is not
    sent because of a step is raised at its end. It is reentrant: a finalizer may strike where
    it is held, and begin a step of its own.

    Parameters
    ----------
    error : type of BaseException
        What is sent.
    """

    __slots__ = ("_due", "_error", "_listening", "_lock", "_steps")

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error
        self._lock = RLock()
        self._steps = 0  # one inside another
        self._due = False
        self._listening: list[Listening] = []

    def stand(self) -> None:
        """Be this thread."""
        _mine.target = self

    def strike(self, send: Callable[[type[BaseException]], object]) -> None:
        """Have the exception raised in the thread: now, by ``send``, or at the end of the step that it is in."""
        with self._lock:
            if not self._steps:
                send(self._error)
                return
            self._due = True
            for each in self._listening:
                each.raised = self._error()

    def put_off(self, call: Callable[..., R], *args: Any) -> R:
        """Make a call in this thread, as a step that is done whole."""
        with self._lock:
            self._steps += 1
        try:
            for _ in range(2):
                pass  # at the end of a turn Python looks for what was sent before
            return call(*args)
        finally:
            with self._lock:
                self._steps -= 1
                due = self._due and not self._steps
                if due:
                    self._due = False
            if due:
                raise self._error

    def begin(self, listening: Listening) -> None:
        """Begin a step of this thread that ends early when it hears of the exception."""
        with self._lock:
            self._steps += 1
            self._listening.append(listening)
        for _ in range(2):
            pass  # as above

    def end(self, listening: Listening) -> None:
        """End that step; what it has heard is its to raise."""
        with self._lock:
            self._steps -= 1
            self._listening.remove(listening)
            if listening.raised is not None and not self._steps:
                self._due = False


def calmly(call: Callable[..., R], *args: Any) -> R:
    """Call it; a Ctrl-C that comes meanwhile is heard afterwards, and so is what is sent into this thread."""
    if threading.get_ident() != threading.main_thread().ident:
        target = _mine.target
        return call(*args) if target is None else target.put_off(call, *args)
    handler = _signal.getsignal(_SIGINT)
    if not callable(handler):
        return call(*args)
    noted: list[Any] = []

    def note(*heard: Any) -> None:
        noted.append(heard)

    try:
        _signal.signal(_SIGINT, note)
    except ValueError:  # the main thread of another interpreter hears no signals
        return call(*args)
    outermost = not _loud
    if outermost:
        _loud.append(handler)
    try:
        return call(*args)
    finally:
        if outermost:
            _loud.clear()
        _signal.signal(_SIGINT, handler)
        if noted:
            handler(*noted[0])


def loudly(call: Callable[..., R], *args: Any) -> R:
    """Make a call of user code in the middle of a calm step: it hears Ctrl-C, or nothing might ever end it."""
    if not _loud or threading.get_ident() != threading.main_thread().ident:
        return call(*args)
    calm = _signal.getsignal(_SIGINT)
    try:
        _signal.signal(_SIGINT, _loud[0])
        return call(*args)
    finally:
        _signal.signal(_SIGINT, calm)


def is_ctrl_c(error: BaseException) -> bool:
    """Tell whether an error in user code is a Ctrl-C, and not that code's doing: then it is not ours to keep."""
    return (
        isinstance(error, KeyboardInterrupt)
        and not _compat.in_worker
        and threading.get_ident() == threading.main_thread().ident
        and callable(_signal.getsignal(_SIGINT))  # else nobody hears it, and nobody pressed it
    )


def ring_again() -> None:
    """Have a Ctrl-C that was caught in user code heard again: now, or at the end of the calm step."""
    _thread.interrupt_main()


class Listening:
    """Knows of a Ctrl-C in its block, whoever catches what it raises; and of what is sent into this thread.

    Parameters
    ----------
    calm : callable
        Given the frame that is interrupted; where it says so, nothing is raised, only noted.
        What is sent into a thread is noted wherever it is.

    Attributes
    ----------
    raised : BaseException or None
        What the handler raised (KeyboardInterrupt, as a rule), or what was sent. Threads that
        neither strikes, and handlers that raise nothing, leave it at None.
    """

    __slots__ = ("_before", "_calm", "_installed", "_target", "raised")

    def __init__(self, calm: Callable[[Any], bool]) -> None:
        self.raised: BaseException | None = None
        self._calm = calm
        self._before: Any = None
        self._installed: Any = None
        self._target: Target | None = None

    def __enter__(self) -> Self:
        if threading.get_ident() == threading.main_thread().ident:
            self._before = _signal.getsignal(_SIGINT)
            if callable(self._before):
                installed = self._pass_on
                try:
                    _signal.signal(_SIGINT, installed)
                    self._installed = installed
                except ValueError:  # the main thread of another interpreter
                    pass
        elif _mine.target is not None:
            self._target = _mine.target
            self._target.begin(self)
        return self

    def __exit__(self, *_: object) -> None:
        # Whoever has set a handler of their own meanwhile keeps it.
        if self._installed is not None and _signal.getsignal(_SIGINT) is self._installed:
            _signal.signal(_SIGINT, self._before)
        self._installed = None
        if self._target is not None:
            self._target.end(self)

    def _pass_on(self, *heard: Any) -> None:
        try:
            self._before(*heard)
        except BaseException as error:
            self.raised = error
            if not self._calm(heard[1]):
                raise


@contextmanager
def deaf_to_ctrl_c() -> Generator[None]:
    """Start a process that does not hear Ctrl-C before it has left our process group: it blocks the signal.

    Here another thread hears it meanwhile, or this one afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
