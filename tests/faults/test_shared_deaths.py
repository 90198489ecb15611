"""Processes killed while they hold a lock, or in the middle of a change of shared state.

What is promised: the next one goes on, and finds the value as it was before or
after the change, never between. Deaths are at named points, in a forked child
that kills itself there, or at moments that Hypothesis draws.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workpool.ipc import memory, mutex, robust_lock
from workpool.shared import Counter, Event, Lock, Semaphore, Shared
from workpool.shared.in_processes import value as value_home
from workpool.shared.in_processes.event import ProcessEvent

fork = multiprocessing.get_context("fork")
SOON = 20.0  # seconds; a deadline, not a measure


pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("arena")]


@pytest.fixture(
    params=[
        "record",
        pytest.param("mutex", marks=pytest.mark.skipif(not mutex.AVAILABLE, reason="Linux's")),
    ],
    autouse=True,
)
def kind_of_lock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run all tests with both kinds of lock."""
    monkeypatch.setattr(robust_lock, "_USE_RECORD_LOCKS", request.param == "record")


def die() -> None:
    """End this process at once, as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed(target: Callable[[], object]) -> None:
    """Run a function in a forked child that does not survive it."""
    process = fork.Process(target=target)
    process.start()
    process.join(SOON)
    assert process.exitcode == -signal.SIGKILL
    process.close()


class Deadly:
    """Stands in for shared cells: to write to it is to die, before or after the store."""

    def __init__(self, cells: Any, *, after: bool) -> None:
        self._cells = cells
        self._after = after

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, index: Any) -> Any:
        return self._cells[index]

    def __setitem__(self, index: int, value: int) -> None:
        if self._after:
            self._cells[index] = value
        die()


# ------------------------------------------------------------------ a lock that is held


def test_the_owner_of_a_lock_is_killed() -> None:
    """The next owner gets the lock and is told; the one after it is not."""
    lock = Lock(scope="process")

    def child() -> None:
        with lock:
            die()

    for _ in range(3):
        killed(child)
        assert lock.acquire(timeout=SOON)
        assert lock.owner_died
        lock.release()
    assert lock.acquire(timeout=SOON)
    assert not lock.owner_died
    lock.release()


def test_one_who_waits_for_a_lock_is_killed() -> None:
    """A waiter's death takes nothing from the owner, nor from who waits beside it."""
    lock = Lock(scope="process")
    waiting = [fork.Process(target=lock.acquire) for _ in range(2)]
    got: list[bool] = []

    def waiter() -> None:
        with lock:
            got.append(lock.owner_died)

    thread = threading.Thread(target=waiter)
    with lock:
        for process in waiting:
            process.start()
        thread.start()
        for process in waiting:
            process.kill()
            process.join(SOON)
            process.close()
        assert lock.locked()
    thread.join(SOON)
    assert got == [False]


def test_a_process_is_killed_with_a_value_open() -> None:
    """What it had done in the block is gone, and the value can be opened again."""
    shared = Shared({"a": 1}, scope="process")

    def child() -> None:
        with shared.lock() as box:
            box.value["a"] = 2
            die()

    killed(child)
    with shared.lock(timeout=SOON) as box:
        assert box.value == {"a": 1}
        box.value["a"] = 3
    assert shared.get() == {"a": 3}


def test_a_process_is_killed_with_permits() -> None:
    """Its permits come back, as often as that happens."""
    semaphore = Semaphore(2, scope="process")

    def child() -> None:
        with semaphore, semaphore:
            die()

    for _ in range(3):
        killed(child)
    assert semaphore.acquire(timeout=SOON)
    assert semaphore.acquire(timeout=SOON)
    assert not semaphore.acquire(blocking=False)
    semaphore.release(2)


# -------------------------------------------------------- named points inside a change


@pytest.mark.parametrize("after", [False, True], ids=["before the store", "after the store"])
def test_a_counter_is_being_changed(after: bool) -> None:
    """It has counted or it has not, and the next one counts on."""
    counter = Counter(10, scope="process")

    def child(change: Callable[[], object]) -> None:
        home: Any = counter._home
        home._cell = Deadly(home._cell, after=after)
        change()

    killed(lambda: child(counter.add))
    assert counter.add(100) == (111 if after else 110)
    killed(lambda: child(lambda: counter.compare_and_set(counter.value, 7)))
    assert counter.value == (7 if after else 110)
    assert counter.compare_and_set(counter.value, 0)


@pytest.mark.parametrize("point", ["written", "flipped"])
@pytest.mark.parametrize(("old", "new"), [(3, 300), (300, 2_000_000), (2_000_000, 5), (9**6, 9**6)])
def test_a_value_is_being_replaced(
    point: str, old: int, new: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the old one whole or the new one whole, short or long, and can be replaced again."""
    shared = Shared(b"o" * old, scope="process")

    def strike(reached: str) -> None:
        if reached == point:
            die()

    def child(change: Callable[[], object]) -> None:
        monkeypatch.setattr(value_home, "reached", strike)
        change()

    def in_a_block() -> None:
        with shared.lock() as box:
            box.value = b"n" * new

    for change in (lambda: shared.set(b"n" * new), in_a_block):
        killed(lambda change=change: child(change))  # type: ignore[misc]  # mypy cannot infer a default
        assert shared.get() == (b"o" * old if point == "written" else b"n" * new)
        shared.set(b"x" * new)
        assert shared.get() == b"x" * new
        shared.set(b"o" * old)
        assert shared.get() == b"o" * old


def test_an_event_is_set_and_no_one_woken() -> None:
    """Who waits comes to know of a flag whose setter died before it could wake anyone."""
    event = Event(scope="process")

    def child() -> None:
        home: Any = event._home
        assert isinstance(home, ProcessEvent)
        home._change(up=True)
        die()

    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(event.wait(SOON)))
    thread.start()
    killed(child)
    thread.join(SOON)
    assert got == [True]
    event.clear()
    assert not event.is_set()


@pytest.mark.parametrize("cells", ["_numbers", "_counts", "_words"])
@pytest.mark.parametrize("after", [False, True], ids=["before the store", "after the store"])
def test_a_permit_is_being_taken(cells: str, after: bool) -> None:
    """There are as many permits as before, whichever step was the last."""
    semaphore = Semaphore(3, scope="process")

    def child() -> None:
        home: Any = semaphore._home
        setattr(home, cells, Deadly(getattr(home, cells), after=after))
        semaphore.acquire()

    killed(child)
    assert [semaphore.acquire(timeout=0.3) for _ in range(4)] == [True, True, True, False]
    semaphore.release(3)


@pytest.mark.parametrize("after", [False, True], ids=["before the store", "after the store"])
def test_permits_are_being_brought_back(after: bool) -> None:
    """They come back by the call or by the death, and not by both."""
    semaphore = Semaphore(3, scope="process")

    def child() -> None:
        assert semaphore.acquire()
        assert semaphore.acquire()
        home: Any = semaphore._home
        home._counts = Deadly(home._counts, after=after)
        semaphore.release(2)

    for _ in range(2):
        killed(child)
    assert [semaphore.acquire(timeout=0.3) for _ in range(4)] == [True, True, True, False]
    semaphore.release(3)


# ------------------------------------------------------------------ any moment at all


class Victims:
    """Processes that count until they are killed, and keep a record of what they know was counted."""

    def __init__(self, count: Callable[[], object], number: int) -> None:
        self._readers: list[Connection] = []
        self.records: list[memory.Region] = []
        self.processes: list[ForkProcess] = []
        for _ in range(number):
            reader, writer = fork.Pipe(duplex=False)
            record = memory.allocate(8)
            process = fork.Process(target=count_on, args=(count, record, writer))
            process.start()
            writer.close()
            self._readers.append(reader)
            self.records.append(record)
            self.processes.append(process)

    def known(self, worker: int) -> int:
        return self.records[worker].view.cast("q")[0]

    def wait_until_running(self) -> None:
        for reader in self._readers:
            assert reader.poll(SOON)

    def kill(self, worker: int) -> None:
        self.processes[worker].kill()
        self.processes[worker].join(SOON)

    def close(self) -> None:
        for worker, reader in enumerate(self._readers):
            self.kill(worker)
            self.processes[worker].close()
            reader.close()


def count_on(count: Callable[[], object], record: memory.Region, writer: Connection) -> None:
    """Count, and record it, for ever."""
    known = record.view.cast("q")
    writer.send_bytes(b"running")
    while True:
        count()
        known[0] += 1


def add_to_pair(shared: Shared[tuple[int, bytes]]) -> None:
    """Change two things that belong together."""
    with shared.lock() as box:
        number = box.value[0] + 1
        box.value = (number, b"%d." % number * (number % 200))


@settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pauses=st.lists(st.integers(0, 3000), min_size=1, max_size=3),
)
@pytest.mark.parametrize("what", ["Counter", "Shared"])
def test_processes_are_killed_at_any_moment(what: str, pauses: list[int]) -> None:
    """Every increment that was known to be done is there, and at most one more for each death."""
    counter = Counter(scope="process")
    pair = Shared[tuple[int, bytes]]((0, b""), scope="process")
    count = counter.add if what == "Counter" else lambda: add_to_pair(pair)
    victims = Victims(count, len(pauses))
    try:
        victims.wait_until_running()
        for worker, steps in enumerate(pauses):
            # So many steps of this process are a moment in the others that no one chose.
            for _ in range(steps):
                os.getppid()
            victims.kill(worker)
        known = sum(map(victims.known, range(len(pauses))))
        if what == "Counter":
            total = counter.value
            assert counter.add() == total + 1
        else:
            total, text = pair.get()
            assert text == b"%d." % total * (total % 200)
            add_to_pair(pair)
            assert pair.get()[0] == total + 1
        assert known <= total <= known + len(pauses)
    finally:
        victims.close()
