"""Initializers and worker contexts that end their worker."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from tests.support.fatal import WAYS, note

__all__ = ["dies_entering", "dies_leaving", "initializer", "well"]


def initializer(way: str) -> None:
    """Die."""
    WAYS[way][0]()


@contextmanager
def _context(when: str, way: str, log: str) -> Generator[str]:
    if when == "entering":
        WAYS[way][0]()
    note(log, "entered")
    yield "resource"
    note(log, "leaving")
    if when == "leaving":
        WAYS[way][0]()
    note(log, "left")


def dies_entering(way: str, log: str) -> Callable[[], AbstractContextManager[str]]:
    """Give a context that is never entered."""
    return partial(_context, "entering", way, log)


def dies_leaving(way: str, log: str) -> Callable[[], AbstractContextManager[str]]:
    """Give a context that is never left."""
    return partial(_context, "leaving", way, log)


def well(log: str) -> Callable[[], AbstractContextManager[str]]:
    """Give a context that is entered and left."""
    return partial(_context, "never", "SIGKILL", log)
