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
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["calmly"]

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
