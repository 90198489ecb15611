"""Lock: threading.Lock's shape, an owner that is known, and a death that releases it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable

import pytest

from tests.support.gates import DEADLINE
from workpool.errors import WouldDeadlock
from workpool.ipc import mutex
from workpool.shared import Lock, Scope

pytestmark = pytest.mark.usefixtures("arena")


@pytest.fixture
def lock(scope: Scope) -> Lock:
    """Make a lock of each scope."""
    return Lock(scope=scope)


def in_thread(call: Callable[[], object]) -> object:
    """Run a call in another thread to its end; what it returned, or raised."""
    answers: list[object] = []

    def run() -> None:
        try:
            answers.append(call())
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return answers[0]


def test_one_owner_at_a_time(lock: Lock) -> None:
    """While the lock is owned no one else gets it; afterwards the next one does."""
    assert lock.acquire()
    assert lock.locked()
    assert in_thread(lambda: lock.acquire(blocking=False)) is False
    assert in_thread(lambda: lock.acquire(timeout=0.01)) is False
    lock.release()
    assert not lock.locked()
    with lock as owned:
        assert owned
        assert lock.locked()
    assert not lock.locked()


def test_a_waiter_gets_it_at_the_release(lock: Lock) -> None:
    """Who waits without limit goes on when the owner releases."""
    waiting, got = threading.Event(), threading.Event()

    def waiter() -> None:
        waiting.set()
        with lock:
            got.set()

    thread = threading.Thread(target=waiter)
    with lock:
        thread.start()
        assert waiting.wait(30)
        assert not got.is_set()
    assert got.wait(30)
    thread.join(30)


def test_many_waiters_each_get_it_once(lock: Lock) -> None:
    """No wake-up is lost: all who wait come to own the lock, one after another."""
    inside: list[int] = []
    most: list[int] = []

    def waiter(number: int) -> None:
        with lock:
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    threads = [threading.Thread(target=waiter, args=(n,)) for n in range(8)]
    with lock:
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1] * 8


def test_acquiring_it_twice_is_refused(lock: Lock) -> None:
    """A second acquire by the owner is an error; with a timeout it is just not acquired."""
    with lock:
        with pytest.raises(WouldDeadlock, match="this thread has the lock already"):
            lock.acquire()
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0.01)
        assert lock.locked()
    assert not lock.locked()


def test_only_the_owner_releases(lock: Lock) -> None:
    """release() of a free lock, or by another thread, is a RuntimeError and changes nothing."""
    with pytest.raises(RuntimeError, match="did not acquire"):
        lock.release()
    with lock:
        assert isinstance(in_thread(lock.release), RuntimeError)
        assert lock.locked()


@pytest.mark.parametrize(("blocking", "timeout"), [(False, 1.0), (True, -2.0), (True, -0.5)])
def test_wrong_terms_are_refused(lock: Lock, blocking: bool, timeout: float) -> None:
    """What threading.Lock refuses is refused, and the lock stays free."""
    with pytest.raises(ValueError, match="timeout"):
        lock.acquire(blocking, timeout)
    assert not lock.locked()


def test_the_end_of_its_owner_releases_it_and_is_told(lock: Lock) -> None:
    """A thread that ended as owner blocks no one; the next owner, and only that one, is told."""
    assert not lock.owner_died
    assert in_thread(lock.acquire) is True
    told: list[bool] = []
    for _ in range(2):
        assert lock.acquire(timeout=30)
        told.append(lock.owner_died)
        lock.release()
        told.append(lock.owner_died)
    assert told == [True, False, False, False]


def test_the_end_of_its_owner_is_noticed_by_those_who_wait(lock: Lock) -> None:
    """Who waits while the owner ends gets the lock."""
    owned, end = threading.Event(), threading.Event()

    def owner() -> None:
        lock.acquire()
        owned.set()
        end.wait(30)

    thread = threading.Thread(target=owner)
    thread.start()
    assert owned.wait(30)
    threading.Timer(0, end.set).start()
    assert lock.acquire(timeout=30)
    assert lock.owner_died
    lock.release()
    thread.join(30)


def test_it_serves_a_condition(lock: Lock) -> None:
    """threading.Condition takes it for a lock."""
    condition = threading.Condition(lock)  # type: ignore[arg-type]  # it has what a Condition needs
    done: list[bool] = []

    def waiter() -> None:
        with condition:
            done.append(condition.wait_for(lambda: bool(ready), timeout=30))

    ready: list[int] = []
    thread = threading.Thread(target=waiter)
    thread.start()
    with condition:
        ready.append(1)
        condition.notify()
    thread.join(30)
    assert done == [True]


def test_an_interrupt_inside_acquire_leaves_it_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the lock became ours, and before the caller knows, gives it back."""
    lock = Lock()
    home = lock._home

    class Striking:
        def __init__(self, mutex: threading.Lock) -> None:
            self._mutex = mutex

        def __enter__(self) -> None:
            self._mutex.acquire()

        def __exit__(self, *_: object) -> None:
            self._mutex.release()
            monkeypatch.undo()
            raise KeyboardInterrupt

    monkeypatch.setattr(home, "_mutex", Striking(home._mutex))  # type: ignore[attr-defined]  # a home of threads
    with pytest.raises(KeyboardInterrupt):
        lock.acquire()
    assert not lock.locked()
    with lock:
        pass


def test_its_repr_tells_its_state(lock: Lock, scope: Scope) -> None:
    """A reader sees whether it is locked, and for whom it is."""
    assert repr(lock) == f"<Lock unlocked, scope={scope!r}>"
    with lock:
        assert repr(lock) == f"<Lock locked, scope={scope!r}>"


def test_an_ended_thread_is_not_taken_for_the_next_one(lock: Lock) -> None:
    """A thread that has the number of one that ended as owner does not own its lock."""
    owners: list[int] = []

    def own() -> None:
        lock.acquire()
        owners.append(threading.get_ident())

    def look() -> str:
        owners.append(threading.get_ident())
        try:
            lock.release()
        except RuntimeError as error:
            return str(error)
        return "released"

    in_thread(own)
    for _ in range(2_000):  # the first one, as a rule
        assert "cannot release" in str(in_thread(look))
        if owners[0] == owners[-1]:
            return
    pytest.skip("no thread has had that number again")


@pytest.mark.skipif(not mutex.AVAILABLE, reason="counts what the kernel has to look through")
def test_a_thread_owns_no_more_than_its_death_releases() -> None:
    """One lock too many is refused, and stays free; all that a thread owned are free when it ends."""
    locks = [Lock(scope="process") for _ in range(2_100)]

    def own() -> int:
        for lock in locks[:2_000]:
            lock.acquire()
        with pytest.raises(OSError, match="releases no more") as refused:
            locks[2_000].acquire()
        assert not locks[2_000].locked()
        locks[0].release()
        locks[2_000].acquire()
        return refused.value.errno or 0

    assert in_thread(own) == errno.ENOLCK
    for lock in locks:
        assert lock.acquire(timeout=DEADLINE)  # the system may be at it still
        lock.release()
