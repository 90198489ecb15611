"""What interpreters say of what cannot travel: no message of theirs speaks of processes."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import pytest

from tests.support.gates import DEADLINE
from tests.support.tasks import call, double
from workpool import NotPicklable, Pool
from workpool._compat import has_interpreters

pytestmark = pytest.mark.skipif(
    not has_interpreters(), reason="this Python has no concurrent.interpreters"
)


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool of one interpreter."""
    with Pool(1, backend="interpreter") as made:
        yield made


def make_lock(_: object = None) -> Any:
    return threading.Lock()


def test_what_cannot_go_there_is_told_of_an_interpreter(pool: Pool) -> None:
    """An argument, an item, a function."""
    for error in (
        pool.submit(double, make_lock()).exception(DEADLINE),
        pool.submit(make_lock().acquire).exception(DEADLINE),
        next(pool.map(double, [make_lock()], return_exceptions=True)),
        next(pool.map(make_lock().acquire, [1], return_exceptions=True)),
    ):
        assert isinstance(error, NotPicklable)
        assert "cannot go to an interpreter: " in str(error)
        assert "process" not in str(error)


def test_what_cannot_come_back_is_told_of_an_interpreter(pool: Pool) -> None:
    """A result, of a task and of an item."""
    for error in (
        pool.submit(make_lock).exception(DEADLINE),
        next(pool.map(make_lock, [1], return_exceptions=True)),
    ):
        assert isinstance(error, NotPicklable)
        assert "cannot come back from an interpreter: " in str(error)


def test_an_initializer_that_cannot_go_there_is_told_of_an_interpreter() -> None:
    """It is refused at the call."""
    with pytest.raises(NotPicklable, match="cannot go to an interpreter: "):
        Pool(1, backend="interpreter", initializer=call, initargs=(make_lock(),))
