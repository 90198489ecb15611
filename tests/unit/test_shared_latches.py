"""The two kinds of lock from the inside: what an exception at an awkward moment leaves behind."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import multiprocessing
import os
import pickle
import signal
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NoReturn, cast

import pytest

from tests.support.queues import inner, until
from workpool.errors import SharedStateLost, TimeLimitExceeded
from workpool.ipc import memory, mutex
from workpool.ipc.mutex import MUTEX_SIZE, OWNER_DIED, Mutex
from workpool.ipc.record_lock import RecordLock
from workpool.ipc.robust_lock import LOCK_SIZE, RobustLock, locked
from workpool.queues import Queue
from workpool.shared import Counter, Lock

needs_mutex = pytest.mark.skipif(not mutex.AVAILABLE, reason="robust mutexes are Linux's")


pytestmark = pytest.mark.usefixtures("arena")


@pytest.fixture
def latch() -> Mutex:
    """Make a mutex."""
    return Mutex(memory.allocate(MUTEX_SIZE), 0, fresh=True)


@pytest.fixture
def record() -> RecordLock:
    """Make a record lock."""
    return RecordLock(memory.allocate(8), 0)


def in_thread(call: Callable[[], int]) -> int:
    """Run a call in another thread to its end, and return what it returned."""
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(call()))
    thread.start()
    thread.join(30)
    return answers[0]


def dies_with(take: Callable[[], int]) -> None:
    """Have a thread get it and end; and its end be known to the kernel, which join does not wait for until 3.13."""
    threads: list[int] = []

    def take_it() -> int:
        threads.append(threading.get_native_id())
        return take()

    assert in_thread(take_it) in {0, 1}
    until(lambda: not os.path.exists(f"/proc/self/task/{threads[0]}"))


def taken_and_given(latch: RecordLock) -> int:
    """Take it and give it back; what the try said."""
    code = latch.take()
    latch.give()
    return code


def struck(call: Callable[..., int]) -> Callable[..., int]:
    """Make a call that succeeds, and is interrupted before anyone hears of it."""

    def strike(*args: object) -> int:
        call(*args)
        raise KeyboardInterrupt

    return strike


@needs_mutex
def test_a_mutex_taken_in_an_interrupted_spin_is_given_back(latch: Mutex) -> None:
    """Ctrl-C right after the try that succeeded leaves the mutex free."""
    take = latch.take
    latch.take = struck(take)
    with pytest.raises(KeyboardInterrupt):
        latch.settle(errno.EBUSY, None)
    assert in_thread(take) == 0  # which ends as owner: the thread is gone


@needs_mutex
def test_a_mutex_got_in_an_interrupted_wait_is_given_back(
    latch: Mutex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C right after the wait that succeeded leaves the mutex free."""
    monkeypatch.setattr(mutex, "_SPINS", ())
    monkeypatch.setattr(latch, "_library", mutex._Library())
    monkeypatch.setattr(latch._library, "timedlock", struck(latch._library.timedlock))
    with pytest.raises(KeyboardInterrupt):
        latch.settle(errno.EBUSY, 10)
    assert in_thread(latch.take) == 0


@needs_mutex
def test_a_mutex_got_in_an_interrupted_settle_is_given_back(
    latch: Mutex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C as an heir that has waited repairs the mutex leaves it free, and sound."""
    library = mutex._Library()
    repair = library.consistent

    def strike(*args: object) -> NoReturn:
        library.consistent = repair
        repair(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(library, "consistent", strike)
    monkeypatch.setattr(latch, "_library", library)
    dies_with(latch.take)
    with pytest.raises(KeyboardInterrupt):
        latch.settle(errno.EBUSY, None)
    assert in_thread(latch.take) == 0


@needs_mutex
def test_nothing_strikes_between_a_spin_and_the_return(
    latch: Mutex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C as the clock is read for a timeout leaves the mutex free: it is read first."""

    def strike() -> NoReturn:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "monotonic", strike)
    with pytest.raises(KeyboardInterrupt):
        latch.settle(errno.EBUSY, 10)
    assert in_thread(latch.take) == 0


@needs_mutex
def test_a_mutex_that_is_lost_is_told(latch: Mutex) -> None:
    """Let go without repair it is nobody's for ever: nobody waits for it."""
    dies_with(latch.take)
    assert latch.take() == OWNER_DIED
    latch.give()
    with pytest.raises(SharedStateLost, match="Make the shared object anew"):
        latch.settle(latch.take(), 1)


def counter_calls() -> tuple[Any, str, list[Callable[[], object]]]:
    """Give what has a lock, under which name, and the calls that take it."""
    home: Any = Counter(scope="process")._home
    return home, "_take", [lambda: home.add(1), lambda: home.compare_and_set(0, 1)]


def lock_calls() -> tuple[Any, str, list[Callable[[], object]]]:
    lock: Any = RobustLock.create(memory.allocate(LOCK_SIZE))
    return lock, "take", [lambda: locked(lock, int), lock.acquire]


def put_calls() -> tuple[Any, str, list[Callable[[], object]]]:
    queue: Queue[Any] = Queue(scope="process")
    return inner(queue)._tail, "take", [lambda: queue.put(1)]


def get_calls() -> tuple[Any, str, list[Callable[[], object]]]:
    queue: Queue[Any] = Queue(scope="process")
    queue.put(1)
    return inner(queue)._head, "take", [queue.get, queue.join]


@needs_mutex
@pytest.mark.parametrize("make", [counter_calls, lock_calls, put_calls, get_calls])
def test_an_heir_that_is_struck_as_it_gets_the_lock_leaves_it_sound(
    make: Callable[[], tuple[Any, str, list[Callable[[], object]]]],
) -> None:
    """Ctrl-C before the heir of a dead owner has heard that it is one: the next gets the lock."""
    owner, name, calls = make()
    take = getattr(owner, name)
    for call in calls:
        dies_with(take)
        setattr(owner, name, struck(take))
        with pytest.raises(KeyboardInterrupt):
            call()
        setattr(owner, name, take)
        dies_with(take)
        assert take() == OWNER_DIED
        getattr(owner, "_lock", owner).undo(OWNER_DIED)


@needs_mutex
def test_an_interrupted_look_leaves_the_lock_free() -> None:
    """Ctrl-C right after the try by which locked() looks does not lock it."""
    lock = RobustLock.create(memory.allocate(LOCK_SIZE))
    dies_with(lock.acquire)
    take = lock.take
    lock.take = struck(take)
    with pytest.raises(KeyboardInterrupt):
        lock.locked()
    lock.take = take
    assert in_thread(take) == 0


@needs_mutex
def test_an_interrupted_wait_for_oneself_keeps_what_one_had(
    latch: Mutex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in a second acquire does not give the first one back."""
    monkeypatch.setattr(latch, "_library", mutex._Library())
    monkeypatch.setattr(latch._library, "timedlock", struck(latch._library.timedlock))
    assert latch.take() == 0
    with pytest.raises(KeyboardInterrupt):
        latch.settle(latch.take(), 10)
    assert in_thread(latch.take) == errno.EBUSY
    latch.give()
    assert in_thread(latch.take) == 0


@needs_mutex
def test_a_wait_by_the_wall_clock_ends_as_well(
    latch: Mutex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the C library takes no other clock, waiting works the same."""
    library = mutex._Library()
    monkeypatch.setattr(library, "_timed", ctypes.CDLL(None).pthread_mutex_timedlock)
    monkeypatch.setattr(library, "_clock", time.CLOCK_REALTIME)
    monkeypatch.setattr(library, "_clock_argument", ())
    monkeypatch.setattr(latch, "_library", library)
    assert latch.take() == 0
    begin = time.monotonic()
    assert in_thread(lambda: latch.settle(latch.take(), 0.05)) == errno.EBUSY
    assert 0.05 <= time.monotonic() - begin < 10
    latch.give()
    assert latch.settle(errno.EBUSY, 10) == 0
    latch.give()


@needs_mutex
def test_a_mutex_that_cannot_be_made_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the C library refuses is told by its number, at the making."""
    library = mutex._Library()

    class Refusing:
        def __getattr__(self, name: str) -> Callable[..., int]:
            return lambda *_: errno.ENOMEM

    monkeypatch.setattr(library, "_let_go", Refusing())
    with pytest.raises(OSError, match="cannot make a lock"):
        library.initialize(None)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError, TimeLimitExceeded])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_interrupted_try_leaves_a_record_lock_free(
    record: RecordLock, moment: str, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What strikes before or after the kernel's answer leaves the gate open and the byte free, for any process."""
    lockf = fcntl.lockf
    strikes = iter([True])

    def strike(fd: int, operation: int, length: int, start: int) -> None:
        if moment == "after":
            lockf(fd, operation, length, start)
        if next(strikes, False):
            raise kind

    monkeypatch.setattr(fcntl, "lockf", strike)
    with pytest.raises(kind):
        record.take()
    monkeypatch.undo()
    process = multiprocessing.get_context("fork").Process(target=lambda: os._exit(record.take()))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    process.close()
    assert in_thread(lambda: taken_and_given(record)) == 0


def test_an_error_of_the_kernel_is_not_taken_for_a_busy_lock(
    record: RecordLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock file that cannot be locked at all is an error, and the gate stays open."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "lockf", fail)
    with pytest.raises(OSError, match="no locks available"):
        record.take()
    monkeypatch.undo()
    assert in_thread(lambda: taken_and_given(record)) == 0


def test_copies_of_a_record_lock_share_a_gate(record: RecordLock) -> None:
    """Two objects for one place in the arena are one lock, also within a process."""
    copy = RecordLock(memory.allocate(8), 0)
    assert copy._gate is not record._gate
    region = memory.allocate(8)
    one, other = RecordLock(region, 0), RecordLock(region, 0)
    assert one.take() == 0
    assert in_thread(other.take) == errno.EBUSY
    assert other.take() == errno.EDEADLK
    other.give()
    assert in_thread(lambda: taken_and_given(one)) == 0
    one.give()
    assert in_thread(lambda: taken_and_given(other)) == 0


@needs_mutex
def test_a_thread_that_ends_as_owner_is_told_too() -> None:
    """With a robust mutex, the end of a thread is a death like any other."""
    lock = RobustLock.create(memory.allocate(LOCK_SIZE))
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    thread.join(30)
    assert lock.acquire(10)
    assert lock.owner_died
    lock.release()


@needs_mutex
@pytest.mark.parametrize("how", ["acquired", "taken"])
def test_one_that_is_dropped_while_it_is_owned_hides_no_other(how: str) -> None:
    """Its memory is not used again as long as its owner lives: the owner's other locks are freed by the death."""
    kept = Lock(scope="process")
    reader, writer = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        kept.acquire()
        dropped = Lock(scope="process")
        home: Any = dropped._home
        (dropped.acquire if how == "acquired" else home._lock.take)()
        offset = home._region.offset
        del dropped, home
        others = [Lock(scope="process") for _ in range(2)]
        for other in others:
            with other:
                writer.send(cast("Any", other._home)._region.offset != offset)
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert reader.recv()
    assert reader.recv()
    assert kept.acquire(timeout=5)
    assert kept.owner_died
    kept.release()
    reader.close()
    writer.close()


def end_as_owner(lock: Lock) -> None:
    """Own it until this process ends, and have it longer than there are the modules that it is made of."""
    lock.acquire()
    setattr(threading, "of_a_test", lock)  # noqa: B010 - there is no such attribute, says mypy


@needs_mutex
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_program_that_ends_as_owner_is_told_too(method: str) -> None:
    """However its end comes, and whatever it tidies up there, the next one gets the lock."""
    context: Any = multiprocessing.get_context(method)
    lock = Lock(scope="process")
    process = context.Process(target=end_as_owner, args=(lock,))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    process.close()
    assert lock.acquire(timeout=5)
    assert lock.owner_died
    lock.release()


@needs_mutex
def test_a_copy_that_is_dropped_while_it_is_owned_stays_mapped() -> None:
    """Its memory is there as long as its owner's other locks may look at it; a copy that is free leaves nothing."""
    lock = Lock(scope="process")
    for owned in (False, True):
        copy = pickle.loads(pickle.dumps(lock))
        if owned:
            copy.acquire()
        view = weakref.ref(copy._home._region.view)
        del copy
        gc.collect()
        assert (view() is not None) is owned
