"""The scheduler's lock: who finds it taken looks again, and is not given it while it waits for the GIL."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from tests.support.gates import DEADLINE, in_background
from tests.support.queues import until
from workpool import Pool, midway
from workpool._compat import gil_enabled
from workpool.errors import Midway
from workpool.scheduling import patient_lock
from workpool.scheduling.patient_lock import make_lock

needs_gil = pytest.mark.skipif(not gil_enabled(), reason="an ordinary lock does without a GIL")


class Holder:
    """In place of a pool, which has such a lock."""


_holders: list[Holder] = []


def make() -> Any:
    """Make a lock that is known until the end of the test."""
    _holders.append(Holder())
    return make_lock(_holders[-1])


@pytest.fixture(autouse=True)
def no_holders() -> Generator[None]:
    """Have the locks of a test be known to no other."""
    yield
    _holders.clear()


class Owner:
    """A thread that has the lock, until told to let go of it."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._let_go = threading.Event()
        self._has = threading.Event()
        self._thread = in_background(self._own)
        assert self._has.wait(DEADLINE)

    def _own(self) -> None:
        with self._lock:
            self._has.set()
            assert self._let_go.wait(DEADLINE)

    def let_go(self) -> None:
        """Return when the lock is free."""
        self._let_go.set()
        self._thread.result()


@pytest.fixture
def napping(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], list[int]]:
    """Have something done in each nap, which is told how many there were; gives those there were."""

    def arrange(do: Callable[[int], None]) -> list[int]:
        naps: list[int] = []

        def nap(_: float) -> None:
            naps.append(len(naps))
            do(len(naps))

        monkeypatch.setattr(patient_lock, "sleep", nap)
        return naps

    return arrange


def test_it_keeps_others_out_and_lets_its_owner_in_again() -> None:
    """It is a reentrant lock."""
    lock = make()
    total = 0

    def add() -> None:
        nonlocal total
        for _ in range(2_000):
            with lock, lock:
                before = total
                total = before + 1
            assert not lock._is_owned()

    adders = [in_background(add) for _ in range(4)]
    for adder in adders:
        adder.result()
    assert total == 8_000


@needs_gil
def test_who_finds_it_taken_looks_again(
    napping: Callable[[Callable[[int], None]], list[int]],
) -> None:
    """It naps until the lock is free, and never stands in line for it."""
    lock = make()
    owner = Owner(lock)
    naps = napping(lambda count: owner.let_go() if count == 3 else None)
    with lock:
        assert lock._is_owned()
    assert len(naps) == 3


@needs_gil
def test_who_has_looked_often_stands_in_line(
    napping: Callable[[Callable[[int], None]], list[int]],
) -> None:
    """After many looks that found it taken it waits until it is given the lock."""
    lock = make()
    owner = Owner(lock)
    looked = threading.Event()

    def nap(count: int) -> None:
        if count == patient_lock._LOOKS:
            looked.set()

    naps = napping(nap)

    def enter() -> bool:
        with lock:
            return bool(lock._is_owned())

    waiter = in_background(enter)
    assert looked.wait(DEADLINE)
    owner.let_go()
    assert waiter.result()
    assert len(naps) == patient_lock._LOOKS


@needs_gil
def test_an_interrupted_wait_has_nothing(
    napping: Callable[[Callable[[int], None]], list[int]],
) -> None:
    """Ctrl-C in a nap leaves the lock to others."""
    lock = make()
    owner = Owner(lock)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    napping(interrupt)
    with pytest.raises(KeyboardInterrupt), lock:
        pytest.fail("it was taken")
    owner.let_go()
    assert not lock._is_owned()
    assert in_background(lock.acquire, blocking=False).result()


@pytest.fixture(params=["with a GIL", "without"])
def lock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a lock of either kind."""
    monkeypatch.setattr(patient_lock, "gil_enabled", lambda: request.param == "with a GIL")
    return make()


def test_without_a_gil_who_finds_it_taken_stands_in_line(
    monkeypatch: pytest.MonkeyPatch, napping: Callable[[Callable[[int], None]], list[int]]
) -> None:
    """There is no convoy to avoid, and naps would only be late."""
    monkeypatch.setattr(patient_lock, "gil_enabled", lambda: False)
    lock = make()
    naps = napping(lambda _: None)
    owner = Owner(lock)
    entered = threading.Event()

    def enter() -> bool:
        with lock, lock:
            entered.set()
            return bool(lock._is_owned())

    waiter = in_background(enter)
    assert not entered.is_set()
    owner.let_go()
    assert waiter.result()
    assert not lock._is_owned()
    assert naps == []


def test_who_holds_another_waits_for_none(lock: Any) -> None:
    """Whoever finds it taken, and holds another pool's, is told so; without that, or if it is free, it is had."""
    other = make()
    owner = Owner(lock)
    with pytest.raises(Midway, match="by a finalizer"), other, lock:
        pytest.fail("it was taken")
    owner.let_go()
    with other, lock:
        assert lock._is_owned()
    assert not midway.held_here()


def test_a_lock_whose_owner_is_gone_is_forgotten() -> None:
    """At once, and not when Python looks for cycles: each thread that is to wait asks all that are known."""
    gc.collect()
    gc.disable()
    known = len(midway._owned)
    try:
        with Pool(1) as pool:
            pool.submit(abs, -1).result(DEADLINE)
        assert len(midway._owned) == known + 1
        del pool
        until(lambda: len(midway._owned) == known)  # its worker may be on its last steps
    finally:
        gc.enable()
