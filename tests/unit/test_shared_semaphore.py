"""Semaphore: so many permits, never more, and those of a dead process come back."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from workpool.ipc import lives, memory
from workpool.shared import RateLimiter, Scope, Semaphore
from workpool.shared.in_processes.semaphore import ProcessSemaphore

fork = multiprocessing.get_context("fork")


pytestmark = pytest.mark.usefixtures("arena")


def run_child(target: Callable[[], object], expect: int = 0) -> None:
    """Run a function in a forked child to its end."""
    process = fork.Process(target=target)
    process.start()
    process.join(30)
    assert process.exitcode == expect


def test_as_many_as_there_are_and_no_more(scope: Scope) -> None:
    """Permits can be taken until none is left, and again when one came back."""
    semaphore = Semaphore(2, scope=scope)
    assert [semaphore.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    assert not semaphore.acquire(timeout=0.01)
    semaphore.release()
    assert semaphore.acquire()
    semaphore.release(2)
    with semaphore as taken:
        assert taken
        assert repr(semaphore) == f"<Semaphore 1 free, scope={scope!r}>"
    assert repr(semaphore) == f"<Semaphore 2 free, scope={scope!r}>"


def test_a_release_wakes_one_who_waits(scope: Scope) -> None:
    """Who waits gets the permit that is brought back, by whatever thread."""
    semaphore = Semaphore(scope=scope)
    semaphore.acquire()
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(semaphore.acquire()))
    thread.start()
    semaphore.release()
    thread.join(30)
    assert got == [True]
    semaphore.release()


def test_never_more_inside_than_permits(scope: Scope) -> None:
    """However many threads come, at most so many are inside at once."""
    semaphore = Semaphore(3, scope=scope)
    lock = threading.Lock()
    inside, most = [0], [0]

    def visit() -> None:
        for _ in range(50):
            with semaphore:
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                with lock:
                    inside[0] -= 1

    threads = [threading.Thread(target=visit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert inside == [0]
    assert most[0] <= 3
    assert "3 free" in repr(semaphore)


def test_one_release_too_many_is_refused(scope: Scope) -> None:
    """Bringing back more than is out is a ValueError and changes nothing."""
    semaphore = Semaphore(3, scope=scope)
    semaphore.acquire()
    with pytest.raises(ValueError, match="2 permits cannot be brought back"):
        semaphore.release(2)
    with pytest.raises(ValueError, match="one or more, not 0"):
        semaphore.release(0)
    semaphore.release()
    with pytest.raises(ValueError, match="1 permits cannot be brought back"):
        semaphore.release()
    assert "3 free" in repr(semaphore)


def test_wrong_terms_are_refused(scope: Scope) -> None:
    """No permits at all, half a permit, and a timeout without blocking, are refused by name."""
    for odd in (1.5, "2", True, None):
        kind: Any = odd
        with pytest.raises(
            TypeError, match=f"value must be a whole number of permits, not {odd!r}"
        ):
            Semaphore(kind, scope=scope)
        with pytest.raises(TypeError, match=f"n must be a whole number of permits, not {odd!r}"):
            Semaphore(2, scope=scope).release(kind)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"at least 1 permit, not {wrong}.*use Event or Queue"):
            Semaphore(wrong, scope=scope)
    with pytest.raises(ValueError, match="at most"):
        Semaphore(2**63, scope=scope)
    with pytest.raises(ValueError, match="timeout"):
        Semaphore(scope=scope).acquire(blocking=False, timeout=1)


def test_integers_of_numpy_count_permits(scope: Scope) -> None:
    """A number of workers that numpy has found is one like others, and never wraps around."""
    numpy: Any = pytest.importorskip("numpy")
    semaphore = Semaphore(numpy.uint8(2), scope=scope)
    with semaphore, semaphore:
        with pytest.raises(ValueError, match="200 permits cannot"):
            semaphore.release(numpy.uint8(200))
        semaphore.release(numpy.int64(2))
        assert semaphore.acquire(timeout=0)
        assert semaphore.acquire(timeout=0)
    assert RateLimiter(numpy.int8(100), scope=scope).calls == 100


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_permits_of_a_process_that_is_gone_come_back(how: str) -> None:
    """A process that ends with permits, killed or in order, leaves them to the others."""
    semaphore = Semaphore(3, scope="process")
    semaphore.acquire()

    def child() -> None:
        assert semaphore.acquire(timeout=0)
        assert semaphore.acquire(timeout=0)
        assert not semaphore.acquire(timeout=0)
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(2):
        run_child(child, expect=-signal.SIGKILL if how == "killed" else 0)
    assert semaphore.acquire(timeout=0)
    assert semaphore.acquire(timeout=0)
    assert not semaphore.acquire(timeout=0)
    semaphore.release(3)


def test_a_death_is_noticed_by_those_who_wait() -> None:
    """Who waits for a permit gets that of a process that dies meanwhile."""
    semaphore = Semaphore(1, scope="process")
    reader, writer = fork.Pipe(duplex=False)

    def child() -> None:
        semaphore.acquire()
        writer.send("taken")
        threading.Event().wait(60)

    process = fork.Process(target=child)
    process.start()
    assert reader.poll(30)
    assert not semaphore.acquire(blocking=False)
    process.kill()
    begin = time.monotonic()
    assert semaphore.acquire(timeout=30)
    assert time.monotonic() - begin < 5
    process.join(30)
    reader.close()
    writer.close()
    semaphore.release()


def test_a_permit_can_be_brought_back_by_another_process() -> None:
    """Whoever brings a permit back, it is free, and not a second time when its taker dies."""
    semaphore = Semaphore(2, scope="process")
    semaphore.acquire()
    run_child(semaphore.release)
    assert "2 free" in repr(semaphore)

    def child() -> None:
        with pytest.raises(ValueError, match="0 are out"):
            semaphore.release()

    run_child(child)


def test_a_forked_child_has_none_of_its_parents_permits() -> None:
    """A child's end does not bring back what its parent holds."""
    semaphore = Semaphore(1, scope="process")
    semaphore.acquire()
    run_child(lambda: semaphore.acquire(timeout=0))
    assert not semaphore.acquire(timeout=0)
    semaphore.release()


def test_more_processes_than_rows_wait_as_if_no_permit_were_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that finds no row gets no permit, until a row is free."""
    monkeypatch.setattr("workpool.shared.in_processes.semaphore._MOST_ROWS", 1)
    semaphore = Semaphore(5, scope="process")
    semaphore.acquire()
    semaphore.acquire()

    def child(want: bool) -> None:
        assert semaphore.acquire(timeout=0) is want

    run_child(lambda: child(want=False))
    semaphore.release(2)
    run_child(lambda: child(want=True))


def test_an_interrupt_inside_acquire_brings_the_permit_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C after a permit was taken, and before the caller knows, leaves it free."""
    home = ProcessSemaphore.make(1)
    lock = home._lock

    def give() -> NoReturn:
        monkeypatch.undo()
        lock.give()
        raise KeyboardInterrupt

    monkeypatch.setattr(lock, "give", give)
    with pytest.raises(KeyboardInterrupt):
        home.acquire(0)
    assert home.free() == 1


def test_the_living_are_not_taken_for_dead() -> None:
    """A process is alive to itself and others until it ends; then its number is dead for good."""
    arena = memory.allocate(1).arena
    mine = lives.our_number(arena)
    assert lives.our_number(arena) == mine
    reader, writer = fork.Pipe(duplex=False)

    def child() -> None:
        assert not lives.ended(arena, mine)
        number = lives.our_number(arena)
        assert number != mine
        assert not lives.ended(arena, number)
        writer.send(number)
        threading.Event().wait(60)

    process = fork.Process(target=child)
    process.start()
    assert reader.poll(30)
    number = reader.recv()
    assert not lives.ended(arena, mine)
    assert not lives.ended(arena, number)
    process.kill()
    process.join(30)
    assert lives.ended(arena, number)
    assert lives.ended(arena, number)
    reader.close()
    writer.close()
