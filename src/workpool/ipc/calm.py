"""Doing something whole although the user may press Ctrl-C in the middle of it.

Python raises KeyboardInterrupt between any two steps of the main thread. Where
that thread does the books of a worker itself, an interrupt is noted and raised
when the step is done; that is a matter of microseconds. Other threads are never
interrupted and pay nothing.
"""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

__all__ = ["Listening", "calmly", "deaf_to_ctrl_c"]

R = TypeVar("R")

# The functions behind those of ``signal``, which build enumerations at each call; in no stub.
_signal: Any = importlib.import_module("_signal")
_SIGINT = int(signal.SIGINT)


def calmly(call: Callable[..., R], *args: Any) -> R:
    """Call it; a Ctrl-C that comes meanwhile is heard afterwards."""
    if threading.get_ident() != threading.main_thread().ident:
        return call(*args)
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
    try:
        return call(*args)
    finally:
        _signal.signal(_SIGINT, handler)
        if noted:
            handler(*noted[0])


class Listening:
    """Knows of a Ctrl-C in its block, whoever catches what it raises.

    Parameters
    ----------
    calm : callable
        Given the frame that is interrupted; where it says so, nothing is raised, only noted.

    Attributes
    ----------
    raised : BaseException or None
        What the handler raised (KeyboardInterrupt, as a rule). Threads that hear no
        signals, and handlers that raise nothing, leave it at None.
    """

    __slots__ = ("_before", "_calm", "_installed", "raised")

    def __init__(self, calm: Callable[[Any], bool]) -> None:
        self.raised: BaseException | None = None
        self._calm = calm
        self._before: Any = None
        self._installed: Any = None

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
        return self

    def __exit__(self, *_: object) -> None:
        # Whoever has set a handler of their own meanwhile keeps it.
        if self._installed is not None and _signal.getsignal(_SIGINT) is self._installed:
            _signal.signal(_SIGINT, self._before)
        self._installed = None

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
