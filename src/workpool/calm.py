"""Doing something whole although an exception may strike in the middle of it.

Two kinds come from outside, between any two steps of a thread: what a signal's handler raises in the
main thread (the KeyboardInterrupt of a Ctrl-C, a SystemExit at SIGTERM, the end of an alarm), and what
is sent into a thread that is given up (`Target`). Where such a thread does the books of a pool
itself, it is noted and raised when the step is done; that is a matter of
microseconds. Other threads are never struck and pay nothing.
"""

from __future__ import annotations

import _thread
import importlib
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
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
# Those whose handlers raise something in programs: Ctrl-C, the end of a service, an alarm, and the free ones.
_RAISING = [
    int(getattr(signal, name))
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGBREAK")
    if hasattr(signal, name)
]

_loud: list[dict[int, Any]] = []  # the handlers that the user has, while the main thread is calm


class _Mine(threading.local):
    """What a thread has to itself."""

    target: Target | None = None


_mine = _Mine()


class Target:
    """A thread that may be given up: an exception is sent into it, once, and not into a step that is done whole.

    The lock guards both members. Whoever sends has it while it looks and sends; the thread has it while it begins a
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
    """Call it; a signal that comes meanwhile is heard afterwards, and so is what is sent into this thread."""
    if threading.get_ident() != threading.main_thread().ident:
        target = _mine.target
        return call(*args) if target is None else target.put_off(call, *args)
    handlers = _heard_in_python()
    if not handlers:
        return call(*args)
    noted: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        noted.setdefault(number, frame)

    outermost = not _loud
    try:
        try:
            _put(dict.fromkeys(handlers, note))
        except ValueError:
            if note in map(_signal.getsignal, handlers):
                raise  # of a handler, which heard its signal before it was exchanged
            handlers = {}  # the main thread of another interpreter hears no signals
        if outermost:
            _loud.append(handlers)
        return call(*args)
    finally:
        if outermost:
            _loud.clear()
        try:
            _put_back(handlers)
        finally:
            _hear(handlers, noted)


def loudly(call: Callable[..., R], *args: Any) -> R:
    """Make a call of user code in the middle of a calm step: it hears Ctrl-C, or nothing might ever end it."""
    if not _loud or threading.get_ident() != threading.main_thread().ident:
        return call(*args)
    calm = {number: _signal.getsignal(number) for number in _loud[0]}
    try:
        _put(_loud[0])
        return call(*args)
    finally:
        _put_back(calm)


def _heard_in_python() -> dict[int, Any]:
    """Give the handlers that may raise something."""
    getsignal = _signal.getsignal
    return {number: handler for number in _RAISING if callable(handler := getsignal(number))}


def _put(handlers: dict[int, Any]) -> None:
    """Set handlers, in a loop of C: nothing comes in between but what is pending when one is set."""
    deque(map(_signal.signal, handlers, handlers.values()), 0)


def _put_back(handlers: dict[int, Any]) -> None:
    """Set handlers again, all of them: also where one that is back hears something before the next one is."""
    raised: BaseException | None = None
    while True:
        try:
            _put(handlers)
            break
        except BaseException as error:
            raised = error
    if raised is not None:
        raise raised


def _hear(handlers: dict[int, Any], noted: dict[int, Any]) -> None:
    """Have each signal that was noted heard by its handler, whatever the one before raises."""
    if noted:
        number, frame = noted.popitem()
        try:
            handlers[number](number, frame)
        finally:
            _hear(handlers, noted)


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
    """Knows of a Ctrl-C in its block, whoever catches what it raises; of other signals, and of what is sent here.

    Parameters
    ----------
    calm : callable
        Given the frame that is interrupted; where it says so, nothing is raised, only noted.
        What is sent into a thread is noted wherever it is.

    Attributes
    ----------
    raised : BaseException or None
        What a handler raised (KeyboardInterrupt, as a rule), or what was sent. Threads that
        neither strikes, and handlers that raise nothing, leave it at None.
    """

    __slots__ = ("_before", "_calm", "_installed", "_target", "raised")

    def __init__(self, calm: Callable[[Any], bool]) -> None:
        self.raised: BaseException | None = None
        self._calm = calm
        self._before: dict[int, Any] = {}
        self._installed: dict[int, Any] = {}
        self._target: Target | None = None

    def __enter__(self) -> Self:
        if threading.get_ident() == threading.main_thread().ident:
            self._before = before = _heard_in_python()
            self._installed = {number: partial(self._pass_on, before[number]) for number in before}
            try:
                _put(self._installed)
            except BaseException as error:
                # The main thread of another interpreter; or a handler heard its signal before it was exchanged.
                others = isinstance(error, ValueError) and not self._exchanged()
                self._leave()
                if not others:
                    raise
        elif _mine.target is not None:
            self._target = _mine.target
            self._target.begin(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()
        if self._target is not None:
            self._target.end(self)

    def _exchanged(self) -> dict[int, Any]:
        """Give what was there before ours. Whoever has set a handler of their own meanwhile keeps it."""
        getsignal = _signal.getsignal
        return {
            number: self._before[number]
            for number, installed in self._installed.items()
            if getsignal(number) is installed
        }

    def _leave(self) -> None:
        _put_back(self._exchanged())

    def _pass_on(self, before: Any, number: int, frame: Any) -> None:
        try:
            before(number, frame)
        except BaseException as error:
            self.raised = error
            if not self._calm(frame):
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
