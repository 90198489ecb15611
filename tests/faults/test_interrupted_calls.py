"""Ctrl-C at any moment of a call that the main thread makes: the pool stays whole.

One call is made again and again, each time with the signal a moment later,
until it gets through. After each the pool still runs tasks, counts right and ends.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import workpool
from tests.support import tasks
from tests.support.gates import DEADLINE, in_background
from workpool import Pool, Results

SOON = 5.0  # seconds; far more than any of this takes
# An interpreter that is interrupted in a finalizer, or in a generator that is let go, says so and goes on.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

OURS = str(Path(workpool.__file__).parent)


def interrupted_at(number: int, call: Callable[[], object]) -> bool:
    """Make a call that hears Ctrl-C at that moment; False if it has fewer.

    The interpreter raises the exception of a signal where a Python function begins,
    and where a function in C has returned: these are the moments.
    """
    left = number

    def look(frame: Any, event: str, _: object) -> None:
        nonlocal left
        if event in {"call", "c_return"} and frame.f_code.co_filename.startswith(OURS):
            left -= 1
            if left == -1:
                handler = signal.getsignal(signal.SIGINT)
                assert callable(handler)
                handler(signal.SIGINT, frame)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(before)
    return left < 0


@pytest.fixture(autouse=True)
def default_handler() -> Generator[None]:
    """Have Ctrl-C raise KeyboardInterrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _consume(pool: Pool, **how: Any) -> None:
    results: Results[Any] = pool.map(tasks.double, range(8), **how)
    for value in results:
        assert value % 2 == 0


def _submit(pool: Pool) -> object:
    return pool.submit(tasks.double, 1)


def _submit_and_forget(pool: Pool) -> None:
    for n in range(3):
        pool.submit(tasks.double, n)


def _join(pool: Pool) -> None:
    pool.submit(tasks.double, 1)
    pool.join()


CALLS: dict[str, Callable[[Pool], object]] = {
    "submit": _submit_and_forget,
    "result": lambda pool: pool.submit(tasks.double, 1).result(),
    "cancel": lambda pool: pool.submit(tasks.double, 1).cancel(),
    "map": _consume,
    "map_lazy": lambda pool: list(pool.map(tasks.double, iter(range(8)), buffersize=3)),
    "map_one_by_one": lambda pool: _consume(pool, chunksize=1),
    "map_closed": lambda pool: pool.map(tasks.double, range(8)).close(),
    "join": _join,
}


@pytest.fixture
def made() -> Generator[list[Pool]]:
    """Give a list of pools to be ended, whatever they are stuck in."""
    pools: list[Pool] = []
    yield pools
    for each in pools:
        in_background(each.kill).result()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("backend", ["thread", "process", "inline"])
def test_a_call_may_be_interrupted_anywhere(backend: Any, call: str, made: list[Pool]) -> None:
    """Wherever in submit, result, cancel, map or join Ctrl-C comes: all that was accepted still ends."""
    pool = Pool(1, backend=backend)
    made.append(pool)
    pool.submit(tasks.double, 1).result(DEADLINE)
    number = 0
    while interrupted_at(number, lambda: CALLS[call](pool)):
        number += 1
        task = in_background(pool.submit, tasks.double, number).result(SOON)
        assert task.result(SOON) == 2 * number, number
        in_background(pool.join, SOON).result(2 * SOON)
        assert pool.unfinished == 0, number
    assert number > 10
    in_background(pool.shutdown).result(SOON)


@pytest.mark.parametrize("backend", ["thread", "process", "inline"])
def test_the_first_call_may_be_interrupted_anywhere(backend: Any, made: list[Pool]) -> None:
    """The same while the first worker is being hired."""
    number = -1
    going_on = True
    while going_on:
        number += 1
        pool = Pool(1, backend=backend)
        made.append(pool)
        going_on = interrupted_at(number, partial(_submit, pool))
        assert in_background(pool.submit, tasks.double, 2).result(SOON).result(SOON) == 4, number
        in_background(pool.shutdown).result(SOON)
        made.remove(pool)
    assert number > 10
