"""What interpreters say of what cannot travel: no message of theirs speaks of processes."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Generator
from typing import Any

import pytest

from tests.support.gates import DEADLINE
from tests.support.tasks import call, double
from workpool import NotPicklable, Pool, WorkerLost
from workpool._compat import has_interpreters
from workpool.backends.interpreter import worker
from workpool.ipc import robust_lock

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


def use(shared: Any) -> str:
    return type(shared).__name__


@pytest.mark.parametrize(
    "kind",
    ["array", "counter", "event", "lock", "queue", "rate_limit", "semaphore", "shared"],
)
def test_record_locks_are_refused(pool: Pool, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Record locks are a process's: what needs one is refused in an interpreter, where it would exclude nobody."""
    terms: dict[str, tuple[Any, ...]] = {"rate_limit": (1, 1.0), "array": (3, int), "shared": (0,)}
    make = getattr(pool, kind)
    sound = make(*terms.get(kind, ()))
    assert pool.submit(use, sound).result(DEADLINE)
    monkeypatch.setattr(robust_lock, "_USE_RECORD_LOCKS", True)
    error = pool.submit(use, make(*terms.get(kind, ()))).exception(DEADLINE)
    assert isinstance(error, NotPicklable)
    assert "record locks" in str(error)
    assert 'Use backend="process"' in str(error)
    assert pool.submit(double, 1).result(DEADLINE) == 2


def test_what_cannot_be_started_is_told_of_an_interpreter(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has no descriptor to give, it is no process that was wanted."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(worker, "launch", fail)
    error = pool.submit(double, 1).exception(DEADLINE)
    assert isinstance(error, WorkerLost)
    assert "could start no worker interpreter: " in str(error)
    assert "Free threads, memory or file descriptors, and submit again." in str(error)
    assert "process" not in str(error)
