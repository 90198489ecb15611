"""What a task or a worker's context leaves behind that keeps its worker from ending, until a gate is opened."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from tests.support.gates import say, stop

__all__ = ["leave_child", "leave_thread", "lingering_context"]


def leave_thread(gate: str, word: str = "") -> int:
    """Leave a thread that Python waits for, and which logs a word at last; tell who this is."""

    def linger() -> None:
        stop(gate, "thread", timeout=600)
        if word:
            logging.getLogger("lingering").warning(word)

    threading.Thread(target=linger, name="lingering").start()
    return os.getpid()


def leave_child(gate: str) -> int:
    """Leave a process that multiprocessing waits for; tell who this is."""
    multiprocessing.get_context("fork").Process(target=stop, args=(gate, "child", 600)).start()
    return os.getpid()


@contextmanager
def _linger(gate: str) -> Generator[None]:
    say(gate, "enter")
    yield
    stop(gate, "leave", timeout=600)


def lingering_context(gate: str) -> Callable[[], AbstractContextManager[None]]:
    """Make a worker_context that does not come to its end."""
    return partial(_linger, gate)
