"""Doing something whole although an exception may strike in the middle of it.

Two kinds come from outside, between any two steps of a thread: what a signal's handler raises in the
main thread (the KeyboardInterrupt of a Ctrl-C, the SystemExit of a service at SIGTERM, the end of an
alarm), and what is sent into a thread that is given up (`Target`). Where such a thread does the books of
a pool itself, it is noted and raised when the step is done; that is a matter of
microseconds. Other threads are never struck and pay nothing.

How handlers are exchanged
    Python runs them where a function of Python begins, where one of C has returned to it, and
    in ``signal.signal`` before that changes anything. All are exchanged in one loop of C, so
    that nothing comes in between but in ``signal.signal`` itself. While those of ours are there,
    nothing is raised, and any code may run. When the last is back, so may those of the user.
    What is raised where only some are back has that loop done once more.
"""

from __future__ import annotations

import _thread
import importlib
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from operator import call as make
from threading import get_ident
from typing import Any, NoReturn, Self, TypeVar

from workpool import _compat
from workpool.target import Target, mine

__all__ = [
    "Listening",
    "calmly",
    "deaf_to_ctrl_c",
    "is_ctrl_c",
    "is_heard",
    "is_strike",
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


class _StandIn:
    """Hears signals in place of the user's handlers, with a method of its own."""

    __slots__ = ("handlers", "loud", "raised", "was_loud")

    def __init__(self, handlers: dict[int, Any]) -> None:
        self.handlers = handlers  # those of the user
        self.loud = False  # whether user code runs in it, which hears signals at once
        self.was_loud = False  # or has run, and may have set handlers
        self.raised: BaseException | None = None  # by a handler

    def exchanged(self) -> dict[int, Any]:
        """Give the handlers that are to be put back; whoever has set one of their own meanwhile keeps it."""
        return {
            number: handler
            for number, handler in self.handlers.items()
            if getattr(_signal.getsignal(number), "__self__", None) is self
        }


class _Step(_StandIn):
    """A call that the main thread makes, and that is done whole."""

    __slots__ = ("noted",)

    def __init__(self, handlers: dict[int, Any]) -> None:
        super().__init__(handlers)
        self.noted: list[Any] = []  # calls that are to be made when it is done

    def note(self, number: int, frame: Any) -> None:
        """Stand in for each handler."""
        if not self.loud:
            # Python, too, calls a handler once for several of its signals that wait.
            if number not in [each.args[0] for each in self.noted]:
                self.noted.append(partial(self.handlers[number], number, frame))
            return
        try:
            self.handlers[number](number, frame)
        except BaseException as error:
            self.raised = error
            raise


_main = [threading.main_thread().ident]
_steps: list[_Step | Listening] = []  # that the main thread is in, one inside another


def _be_main() -> None:
    """Have a forked child start with the user's handlers, though the main thread was in a step: it is not there."""
    if get_ident() != _main[0]:
        for step in reversed(_steps):
            for number, handler in step.exchanged().items():
                _signal.signal(number, handler)
        _steps.clear()
    _main[0] = get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_be_main)


def calmly(call: Callable[..., R], *args: Any) -> R:
    """Call it; a signal that comes meanwhile is heard afterwards, and so is what is sent into this thread."""
    handlers = _handlers() if get_ident() == _main[0] else None
    if not handlers:
        target = mine.target
        return call(*args) if target is None else target.put_off(call, *args)
    step = _Step(handlers)
    inside = len(_steps)
    # Listed from before the exchange until after it is undone, here and in `Listening`: whenever another
    # thread forks, the child finds in the list whatever stands in for a handler, and puts that back.
    try:
        _steps.append(step)
        _ = [*map(_signal.signal, handlers, repeat(step.note))]
        return call(*args)
    finally:
        try:
            _put_back(step.exchanged() if step.was_loud else handlers, step.noted)
        finally:
            del _steps[inside:]
            step.loud = True  # whoever saw it in user code, and sets it again one day


def loudly(call: Callable[..., R], *args: Any) -> R:
    """Make a call of user code in the middle of a calm step: it hears signals, or nothing might ever end it."""
    if not _steps or get_ident() != _main[0]:
        return call(*args)
    step = _steps[-1]
    before = step.loud
    for each in _steps:
        each.was_loud = True
    try:
        step.loud = True
        return call(*args)
    finally:
        step.loud = before


def _handlers() -> dict[int, Any]:
    """Give those that the main thread may hear of now, and that may raise something."""
    if not _hears:
        _hears.append(_can_hear())
    if not _hears[0]:
        return {}
    getsignal = _signal.getsignal
    return {number: handler for number in _RAISING if callable(handler := getsignal(number))}


def _can_hear() -> bool:
    """Tell whether this interpreter hears signals; it is the main one that does."""
    try:
        _signal.signal(_SIGINT, None)  # refused, in any case
    except TypeError:
        return True
    except ValueError:
        return False
    raise AssertionError


_hears: list[bool] = []  # found out by the first who asks


def _put_back(handlers: dict[int, Any], noted: list[Any]) -> None:
    """Set those of the user again, and have them hear what was noted; see above."""
    hear = map(make, noted)
    try:
        _ = [*map(_signal.signal, handlers, handlers.values())]
    except BaseException:
        _ = [*map(_signal.signal, handlers, handlers.values())]
        raise
    finally:
        if noted:
            _hear(hear)


def _hear(calls: Iterator[object]) -> None:
    """Make all calls, whatever one of them raises."""
    try:
        _ = [*calls]
    except BaseException:
        _hear(calls)  # those behind it; each signal is noted once
        raise


def _raise(error: BaseException) -> NoReturn:
    raise error


def is_ctrl_c(error: BaseException) -> bool:
    """Tell whether an error in user code is a Ctrl-C, and not that code's doing: then it is not ours to keep."""
    return (
        isinstance(error, KeyboardInterrupt)
        and not _compat.in_worker
        and get_ident() == _main[0]
        and callable(_signal.getsignal(_SIGINT))  # else nobody hears it, and nobody pressed it
    )


def is_heard(error: BaseException) -> bool:
    """Tell whether an error in a callback is a Ctrl-C, or what another signal's handler raised in it."""
    return is_ctrl_c(error) or any(step.raised is error for step in _steps)


def is_strike(error: BaseException) -> bool:
    """Tell whether an error in user code has come from outside (`is_heard`, or a `Target`): no fault of that code."""
    target = mine.target
    return (target is not None and target.was_sent(error)) or is_heard(error)


def ring_again(error: BaseException) -> None:
    """Have it raised again, now, or at the end of the step: it was caught in user code (`is_heard`)."""
    step = _steps[-1] if _steps else None
    if isinstance(step, _Step):
        step.noted.append(partial(_raise, error))
    elif step is None or step.raised is not error:
        _thread.interrupt_main()


class Listening(_StandIn):
    """Knows of a Ctrl-C in its block, whoever catches what it raises; of other signals, and of what is sent here.

    What was heard and was not raised in the block, or was caught there, is raised at its end.

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
    loud : bool
        Whether a callback runs, in which it is raised wherever that is.
    """

    __slots__ = ("_calm", "_inside", "_target")

    raised: BaseException | None

    def __init__(self, calm: Callable[[Any], bool]) -> None:
        super().__init__({})
        self._calm = calm
        self._inside = 0
        self._target: Target | None = None

    def __enter__(self) -> Self:
        if get_ident() == _main[0] and (handlers := _handlers()):
            self.handlers = handlers
            self._inside = len(_steps)
            try:
                _steps.append(self)
                _ = [*map(_signal.signal, handlers, repeat(self._pass_on))]
            except BaseException:
                self._leave()
                raise
        elif mine.target is not None:
            self._target = mine.target
            self._target.begin(self)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self.handlers:
            self._leave()
        elif self._target is not None:
            self._target.end(self)
        if self.raised is not None and error is None:
            raise self.raised

    def _leave(self) -> None:
        try:
            _put_back(self.exchanged(), [])
        finally:
            del _steps[self._inside :]
            self.loud = True  # as above

    def _pass_on(self, number: int, frame: Any) -> None:
        try:
            self.handlers[number](number, frame)
        except BaseException as error:
            self.raised = error
            # Not in the steps of this file: they set handlers, and raise it when they are through.
            if self.loud or not (frame.f_code.co_filename == _HERE or self._calm(frame)):
                raise


_HERE = calmly.__code__.co_filename


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
