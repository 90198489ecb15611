"""The lock that a death releases, in both its kinds: robust mutex and record lock."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext

import pytest

from workpool.errors import WouldDeadlock
from workpool.ipc import memory, mutex, robust_lock
from workpool.ipc.robust_lock import LOCK_SIZE, OWNER_DIED, RobustLock

fork = multiprocessing.get_context("fork")

START_METHODS = ["fork", "spawn", "forkserver"]
CONTEXTS = [fork, multiprocessing.get_context("spawn"), multiprocessing.get_context("forkserver")]
Context = ForkContext | SpawnContext | ForkServerContext
KINDS = ["record"]
if mutex.AVAILABLE:
    KINDS.append("mutex")


@pytest.fixture(scope="module", autouse=True)
def singletons() -> None:
    """Make what stays until the process ends, before the first test looks for leaks."""
    memory.allocate(1)
    forkserver.ensure_running()


@pytest.fixture(params=KINDS)
def lock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RobustLock:
    """Make a lock of each kind, with eight bytes behind it to guard."""
    monkeypatch.setattr(robust_lock, "_USE_RECORD_LOCKS", request.param == "record")
    return RobustLock.create(memory.allocate(LOCK_SIZE + 8))


def run_child(target: Callable[[], object], expect: int = 0) -> None:
    """Run a function in a forked child to its end."""
    process = fork.Process(target=target)
    process.start()
    process.join(30)
    assert process.exitcode == expect


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_one_thread_owns_it_and_others_do_not(lock: RobustLock) -> None:
    """While a thread owns the lock, another one's try fails; afterwards it succeeds."""
    assert lock.acquire()
    assert lock.locked()
    assert lock.mine()
    assert lock.owner == os.getpid()
    answers: list[object] = []

    def other() -> None:
        answers.append((lock.acquire(0), lock.mine()))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(30)
    lock.release()
    assert answers == [(False, False)]
    assert not lock.locked()
    assert lock.owner == 0


def test_other_processes_are_kept_out(lock: RobustLock) -> None:
    """A process does not get the lock that another one has, and gets it afterwards."""

    def child(want: bool) -> None:
        assert lock.acquire(0.01) is want
        assert lock.owner_died is False
        if want:
            lock.release()

    lock.acquire()
    run_child(lambda: child(want=False))
    lock.release()
    run_child(lambda: child(want=True))


def test_a_waiter_gets_it_when_it_is_released(lock: RobustLock) -> None:
    """A wait without limit ends with the owner's release."""
    lock.acquire()
    got = threading.Event()

    def waiter() -> None:
        lock.acquire()
        got.set()
        lock.release()

    thread = threading.Thread(target=waiter)
    thread.start()
    assert not got.is_set()
    lock.release()
    assert got.wait(30)
    thread.join(30)


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_a_wait_ends_with_its_timeout(lock: RobustLock, timeout: float) -> None:
    """acquire() answers False when the time is up, also to the owner itself."""
    lock.acquire()
    begin = time.monotonic()
    assert not lock.acquire(timeout)
    assert timeout <= time.monotonic() - begin < 10
    lock.release()
    assert not lock.locked()


def test_waiting_for_oneself_is_refused(lock: RobustLock) -> None:
    """A second acquire of the same thread, without a timeout, is an error and not a hang."""
    lock.acquire()
    with pytest.raises(WouldDeadlock, match="has the lock already"):
        lock.acquire()
    assert lock.mine()
    lock.release()


def test_release_of_what_is_not_ours_is_refused(lock: RobustLock) -> None:
    """Only the owner releases: a free lock and another thread's lock stay as they are."""
    with pytest.raises(RuntimeError, match="did not acquire"):
        lock.release()
    answers: list[str] = []

    def other() -> None:
        try:
            lock.release()
        except RuntimeError as error:
            answers.append(str(error))

    lock.acquire()
    thread = threading.Thread(target=other)
    thread.start()
    thread.join(30)
    assert len(answers) == 1
    assert lock.mine()
    lock.release()


def test_a_killed_owner_is_told_to_the_next_one_only(lock: RobustLock) -> None:
    """The first owner after a death sees owner_died; the one after that does not."""

    def child() -> None:
        lock.acquire()
        die()

    run_child(child, expect=-signal.SIGKILL)
    assert not lock.locked()
    told: list[bool] = []
    for _ in range(2):
        assert lock.acquire(10)
        told.append(lock.owner_died)
        lock.release()
        told.append(lock.owner_died)
    assert told == [True, False, False, False]


def test_a_death_wakes_those_who_wait(lock: RobustLock) -> None:
    """Who waits for a lock gets it when its owner is killed."""
    reader, writer = fork.Pipe(duplex=False)

    def child() -> None:
        lock.acquire()
        writer.send("owned")
        threading.Event().wait(60)

    process = fork.Process(target=child)
    process.start()
    assert reader.poll(30)
    got: list[bool] = []

    def waiter() -> None:
        got.append(lock.acquire(30))
        got.append(lock.owner_died)
        lock.release()

    thread = threading.Thread(target=waiter)
    thread.start()
    process.kill()
    thread.join(30)
    process.join(30)
    reader.close()
    writer.close()
    assert got == [True, True]


def test_a_death_while_taking_over_is_told_again(lock: RobustLock) -> None:
    """An heir that dies too leaves the lock to the next one, who is told."""

    def child() -> None:
        assert lock.acquire(10)
        die()

    for _ in range(3):
        run_child(child, expect=-signal.SIGKILL)
    assert lock.acquire(10)
    assert lock.owner_died
    lock.release()


def test_take_and_give_survive_a_death(lock: RobustLock) -> None:
    """The fast way of use gets past a dead owner as well."""

    def child() -> None:
        assert lock.take() == 0
        die()

    run_child(child, expect=-signal.SIGKILL)
    code = lock.take()
    assert code in {0, OWNER_DIED}
    code = lock.settle(code) if code else code
    assert code in {0, OWNER_DIED}
    if code:
        lock.undo(code)
    else:
        lock.give()
    assert lock.take() == 0
    lock.give()
    assert lock.take() == 0
    lock.give()


def test_undo_takes_back_only_what_is_ours(lock: RobustLock) -> None:
    """Giving back a lock that another thread has changes nothing."""

    def other() -> None:
        lock.undo(0)
        lock.undo(OWNER_DIED)

    lock.acquire()
    thread = threading.Thread(target=other)
    thread.start()
    thread.join(30)
    assert not lock.acquire(0)
    assert lock.locked()
    lock.release()


def test_looking_does_not_use_up_the_news_of_a_death(lock: RobustLock) -> None:
    """locked() after a death answers False, and the next owner is still told."""

    def child() -> None:
        lock.acquire()
        die()

    run_child(child, expect=-signal.SIGKILL)
    assert not lock.locked()
    assert not lock.locked()
    lock.acquire(10)
    assert lock.owner_died
    lock.release()


def test_a_forked_child_does_not_own_what_its_parent_owns(lock: RobustLock) -> None:
    """A lock held across a fork stays the parent's: the child waits, and cannot release it."""

    def child() -> None:
        assert not lock.mine()
        assert not lock.acquire(0)
        with pytest.raises(RuntimeError):
            lock.release()

    lock.acquire()
    run_child(child)  # whose end, too, releases nothing
    assert lock.mine()
    assert lock.locked()
    lock.release()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_while_another_thread_owns_it_can_wait_for_it(lock: RobustLock) -> None:
    """The gate of a thread that does not exist in the child does not shut the child out."""
    owned, leave = threading.Event(), threading.Event()

    def holder() -> None:
        lock.acquire()
        owned.set()
        leave.wait(30)
        lock.release()

    thread = threading.Thread(target=holder)
    thread.start()
    assert owned.wait(30)
    reader, writer = fork.Pipe(duplex=False)

    def child() -> None:
        writer.send(lock.acquire(0))
        assert lock.acquire(30)
        lock.release()

    process = fork.Process(target=child)
    process.start()
    assert reader.poll(30)
    assert reader.recv() is False
    leave.set()
    process.join(30)
    thread.join(30)
    reader.close()
    writer.close()
    assert process.exitcode == 0


def use_it(lock: RobustLock, rounds: int) -> None:
    number = lock._region.view[LOCK_SIZE : LOCK_SIZE + 8].cast("q")
    for _ in range(rounds):
        assert lock.acquire(60)
        seen = number[0]
        number[0] = seen + 1
        lock.release()


@pytest.mark.parametrize("context", CONTEXTS, ids=START_METHODS)
def test_it_keeps_processes_and_threads_apart(lock: RobustLock, context: Context) -> None:
    """Increments by threads of several processes, under the lock, are all counted."""
    rounds = 300
    processes = [context.Process(target=use_it, args=(lock, rounds)) for _ in range(2)]
    threads = [
        threading.Thread(target=use_it, args=(copy, rounds))
        for copy in (lock, pickle.loads(pickle.dumps(lock)))
    ]
    for worker in (*processes, *threads):
        worker.start()
    for worker in (*processes, *threads):
        worker.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert lock._region.view[LOCK_SIZE : LOCK_SIZE + 8].cast("q")[0] == 4 * rounds


def test_ctrl_c_is_heard_while_waiting(lock: RobustLock) -> None:
    """KeyboardInterrupt ends a wait within a second, and the lock is not ours then."""

    def child() -> None:
        # The main thread of a process of its own: only there are signals heard.
        def interrupt() -> None:
            waiting.wait(30)
            os.kill(os.getpid(), signal.SIGINT)

        waiting = threading.Event()
        threading.Thread(target=interrupt, daemon=True).start()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        waiting.set()
        try:
            lock.acquire()
        except KeyboardInterrupt:
            os._exit(0 if not lock.mine() else 3)
        os._exit(4)

    lock.acquire()
    begin = time.monotonic()
    run_child(child)
    assert time.monotonic() - begin < 5
    lock.release()


def test_an_exception_inside_acquire_leaves_it_free(
    lock: RobustLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt that strikes after the lock was taken gives it back."""

    class Struck:
        owned = 0

        @property
        def identity(self) -> int:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(robust_lock._here, "me", Struck())
        with pytest.raises(KeyboardInterrupt):
            lock.acquire()
    assert lock.acquire(0)
    lock.release()

    def taken_and_struck() -> int:
        assert take() == 0
        raise KeyboardInterrupt

    take = lock.take
    lock.take = taken_and_struck
    with pytest.raises(KeyboardInterrupt):
        lock.acquire()
    lock.take = take
    assert lock.acquire(0)
    lock.release()
