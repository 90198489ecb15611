"""Workers that are killed at any line of the library: in a call of a task, or from their first line to their last.

Lines are counted as they run, in all files of the library; generated code and the
standard library are not counted. Which line a number stands for may differ from run to
run: what is promised holds at each.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import workpool
from tests.support.dying import die
from tests.support.fatal import note

__all__ = ["Lines", "armed", "calls_and_dies"]

LIBRARY = str(Path(workpool.__file__).parent)


@contextmanager
def armed(number: int, *, threads: bool = False) -> Generator[None]:
    """Be killed before the library runs so many more lines in this block, in threads begun meanwhile too."""
    left = number

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(LIBRARY):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                die()
        return trace

    if threads:
        threading.settrace(trace)
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)
        if threads:
            threading.settrace(None)  # pyright: ignore[reportArgumentType] - which is what switches it off


def calls_and_dies(
    starts: str,
    fatal: int,
    number: int,
    call: Callable[[Any, int], object],
    thing: Any,
    n: int,
) -> object:
    """Note the start and make a call of something shared; with one item be killed at a line of it."""
    note(starts, n)
    if n == fatal:
        with armed(number):
            return call(thing, n)
    return call(thing, n)


class Lines:
    """The numbers of the lines to die at: each in turn until one is not reached, or some at random.

    Parameters
    ----------
    some : int or None
        How many at random; ``None`` takes all.
    most : int
        Below which to draw them.
    """

    def __init__(self, some: int | None, most: int) -> None:
        self.seed = time.time_ns() % 1_000_000_007
        self.killed = 0
        self._some = some
        self._most = most
        self._over = False

    def __iter__(self) -> Iterator[int]:
        began = time.monotonic()
        for count, number in enumerate(self._numbers()):
            # Shown where a test fails: whether one life hung, or all of them were slow.
            print(f"life {count}, line {number}: {time.monotonic() - began:.1f} s")
            yield number

    def _numbers(self) -> Iterator[int]:
        if self._some is None:
            number = 0
            while not self._over:
                yield number
                number += 1
        else:
            yield 0
            yield from random.Random(self.seed).sample(range(1, self._most), self._some - 1)

    def died(self, *, died: bool) -> None:
        """Hear whether the line was reached."""
        self.killed += died
        self._over = not died

    def __str__(self) -> str:
        which = "all" if self._some is None else f"{self._some}, seed {self.seed}"
        return f"{self.killed} deaths ({which}; pid {os.getpid()})"
