"""Shared: a value that changes as a whole or not at all, and of which one gets copies."""

from __future__ import annotations

import copy
import mmap
import os
import pickle
import resource
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from workpool._compat import LINUX
from workpool.errors import NotPicklable, WouldDeadlock
from workpool.ipc import memory
from workpool.queues import Queue
from workpool.shared import Counter, Lock, Scope, Shared


@dataclass
class Account:
    balance: int
    history: list[int] = field(default_factory=list[int])


class Refusing:
    """Cannot be copied, nor pickled."""

    def __reduce__(self) -> str:
        raise RuntimeError("not this one")


pytestmark = pytest.mark.usefixtures("arena")


def test_a_block_commits_at_its_end(scope: Scope) -> None:
    """What box.value is at the end of the block is the new value."""
    shared = Shared(Account(10), scope=scope)
    with shared.lock() as box:
        box.value.balance += 5
        box.value.history.append(5)
    assert shared.get() == Account(15, [5])
    with shared.lock() as box:
        box.value = Account(0)
    assert shared.get() == Account(0)


def test_a_block_that_raises_commits_nothing(scope: Scope) -> None:
    """After an exception in the block the value is as before, in all its parts."""
    shared = Shared(Account(10, [1]), scope=scope)

    def fail() -> None:
        with shared.lock() as box:
            box.value.balance = 0
            box.value.history.clear()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert shared.get() == Account(10, [1])
    assert shared.update(lambda account: account) == Account(10, [1])


def test_update_replaces_and_returns(scope: Scope) -> None:
    """update() returns what the function made; if that raises, nothing has changed."""
    shared = Shared(20, scope=scope)
    assert shared.update(lambda n: n + 1) == 21

    def fail(number: int) -> int:
        raise KeyError(number)

    with pytest.raises(KeyError):
        shared.update(fail)
    assert shared.get() == 21


def test_set_replaces(scope: Scope) -> None:
    """set() puts a value in, whatever was there."""
    shared = Shared[object](None, scope=scope)
    for value in (0, "text", [1, 2], {"a": (1.5, b"x")}, None):
        shared.set(value)
        assert shared.get() == value


def test_what_comes_out_and_goes_in_is_a_copy(scope: Scope) -> None:
    """Changing what was got or given changes nothing for others."""
    mine = [1]
    shared = Shared(mine, scope=scope)
    mine.append(2)
    got = shared.get()
    got.append(3)
    assert shared.get() == [1]
    shared.set(mine)
    mine.append(4)
    with shared.lock() as box:
        kept = box.value
    kept.append(5)
    assert shared.get() == [1, 2]


def test_values_of_any_length_come_and_go(scope: Scope) -> None:
    """Short and long values follow one another, in every order."""
    shared = Shared(b"", scope=scope)
    for length in (1, 400, 430, 450, 10_000, 3_000_000, 100, 70_000, 6_000_000, 0, 5, 2_000_000):
        value = bytes([length % 251]) * length
        shared.set(value)
        assert shared.get() == value


def test_memory_of_a_long_value_goes_back() -> None:
    """After a long value was replaced by a short one, its memory is the system's again."""
    shared = Shared(b"", scope="process")
    used = memory.allocate(1).arena.memory_fd
    before = _blocks(used)
    shared.set(b"x" * 8_000_000)
    shared.set(b"y" * 8_000_000)
    assert _blocks(used) - before > 15_000_000 // 512
    shared.set(b"")
    assert _blocks(used) - before < 1_000_000 // 512
    shared.set(b"z" * 8_000_000)
    assert shared.get() == b"z" * 8_000_000


@pytest.mark.skipif(not LINUX, reason="needs to know how much it has mapped")
def test_memory_of_a_dropped_value_goes_back_though_little_may_be_mapped() -> None:
    """Under a limit of addresses (ulimit -v) that is smaller than the reserve of a value."""
    used = memory.allocate(1).arena.memory_fd
    before = _blocks(used)
    value = Shared(b"x" * 8_000_000, scope="process")
    assert _blocks(used) - before > 7_000_000 // 512
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (512 << 20), hard))
    try:
        del value
        memory.allocate(1)  # takes back what was dropped
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert _blocks(used) - before < 1_000_000 // 512


def _blocks(fd: int) -> int:
    return os.fstat(fd).st_blocks


def test_what_cannot_be_copied_is_refused_and_changes_nothing(scope: Scope) -> None:
    """A value that cannot be copied is NotPicklable, at making, set() and the block's end."""
    with pytest.raises(NotPicklable, match="Refusing"):
        Shared(Refusing(), scope=scope)
    shared = Shared[object](1, scope=scope)
    with pytest.raises(NotPicklable, match="Refusing"):
        shared.set(Refusing())
    with pytest.raises(NotPicklable, match="not this one"), shared.lock() as box:
        box.value = Refusing()
    assert shared.get() == 1


def test_what_cannot_be_unpickled_here_is_told_and_can_be_replaced() -> None:
    """A reader that lacks the type hears so; the value stays, and the lock is free."""
    shared = Shared[object](_Vanishing(), scope="process")
    for read in (shared.get, shared.lock().__enter__):
        with pytest.raises(NotPicklable, match="cannot be unpickled in this process"):
            read()
    shared.set(5)
    assert shared.get() == 5


def test_a_copy_that_fails_at_opening_leaves_the_value_closed() -> None:
    """A value that was copied in but cannot be copied out keeps no one from replacing it."""
    shared = Shared[object](_CopiedOnce(), scope="thread")
    with pytest.raises(NotPicklable, match="once is enough"), shared.lock():
        pass
    shared.set(1)
    assert shared.get() == 1


class _CopiedOnce:
    """Can be copied, but not its copy."""

    def __deepcopy__(self, _: object) -> _CopiedOnce:
        if hasattr(self, "copied"):
            raise RuntimeError("once is enough")
        copy = _CopiedOnce()
        copy.copied = True  # type: ignore[attr-defined]  # a mark
        return copy


class _Vanishing:
    """Pickles, and does not unpickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _vanish, ("gone",)


def _vanish(why: str) -> None:
    raise AttributeError(why)


def test_functions_without_a_name_can_be_shared(scope: Scope) -> None:
    """What pickle cannot, cloudpickle can: a lambda is a value like any other."""
    step = 2

    def stride(number: int) -> int:
        return number + step

    assert Shared(stride, scope=scope).get()(1) == 3


def test_nested_use_in_one_thread_is_refused(scope: Scope) -> None:
    """get, set, update and lock inside one's own block say that they would wait for ever."""
    shared = Shared(1, scope=scope)
    with shared.lock() as box:
        with pytest.raises(WouldDeadlock, match=r"get\(\).*box\.value"):
            shared.get()
        with pytest.raises(WouldDeadlock, match=r"set\(\)"):
            shared.set(2)
        with pytest.raises(WouldDeadlock, match=r"lock\(\)"):
            shared.update(lambda n: n)
        with pytest.raises(WouldDeadlock, match=r"lock\(\)"), shared.lock():
            pass
        box.value += 1
    assert shared.get() == 2


def test_opening_waits_no_longer_than_asked(scope: Scope) -> None:
    """lock(timeout) raises TimeoutError while someone else has the value open."""
    shared = Shared(1, scope=scope)
    errors: list[str] = []

    def other() -> None:
        try:
            with shared.lock(timeout=0.01):
                pass
        except TimeoutError as error:
            errors.append(str(error))

    with shared.lock():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(30)
    assert len(errors) == 1
    assert "0.01 s" in errors[0]
    assert shared.get() == 1


def test_blocks_take_turns(scope: Scope) -> None:
    """A second block begins when the first has ended, and sees its value."""
    shared = Shared(1, scope=scope)
    started = threading.Event()

    def other() -> None:
        started.set()
        with shared.lock() as box:
            box.value *= 10

    thread = threading.Thread(target=other)
    with shared.lock() as box:
        thread.start()
        assert started.wait(30)
        box.value += 1
    thread.join(30)
    assert shared.get() == 20


def test_a_box_is_of_no_use_after_its_block(scope: Scope) -> None:
    """Assigning to a box too late is an error, not a change that gets lost."""
    shared = Shared(1, scope=scope)
    with shared.lock() as box:
        box.value = 2
    with pytest.raises(RuntimeError, match="ended"):
        box.value = 3
    assert box.value == 2
    assert shared.get() == 2


def test_an_interrupt_on_the_way_into_the_block_leaves_the_value_closed(
    scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between opening and the block does not lock the value for ever."""

    def strike(value: int) -> None:
        raise KeyboardInterrupt(value)

    shared = Shared(1, scope=scope)
    with monkeypatch.context() as patch:
        patch.setattr("workpool.shared.value.Box", strike)
        with pytest.raises(KeyboardInterrupt), shared.lock():
            pass
    assert shared.get() == 1


def test_its_repr_tells_the_value_and_never_waits(scope: Scope) -> None:
    """repr() shows the value, or that someone has it open."""
    shared = Shared([1], scope=scope)
    assert repr(shared) == f"Shared([1], scope={scope!r})"
    with shared.lock() as box:
        assert repr(shared) == f"Shared(<locked>, scope={scope!r})"
        assert repr(box) == "Box([1])"
    assert shared.get() == [1]


def queue_of(scope: Scope) -> Queue[int]:
    """Make a queue of that scope."""
    return Queue(scope="thread" if scope == "thread" else "process")


def test_what_is_shared_itself_may_be_in_it(scope: Scope) -> None:
    """A copy of the value holds the same counter, lock and queue, on every scope."""
    counter, lock, queue = Counter(scope=scope), Lock(scope=scope), queue_of(scope)
    shared = Shared({"counter": counter, "rest": [lock, queue]}, scope=scope)
    value: Any = shared.get()
    value["counter"].add()
    value["rest"][0].acquire()
    value["rest"][1].put(7)
    assert counter.value == 1
    assert lock.locked()
    lock.release()
    assert queue.get() == 7
    queue.task_done()


def test_a_copy_of_what_is_shared_is_the_same(scope: Scope) -> None:
    """As it is on its way to another thread."""
    for thing in (Counter(scope=scope), Shared([1], scope=scope), queue_of(scope)):
        assert copy.copy(thing) is copy.deepcopy(thing) is thing


class Shy:
    """Has a repr that raises."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


@pytest.mark.parametrize("error", [ZeroDivisionError, TimeoutError])
def test_a_repr_that_raises_leaves_the_value_closed(scope: Scope, error: type[Exception]) -> None:
    """What the value's own repr raises comes out of repr(), and locks nothing."""
    shared = Shared(Shy(error), scope=scope)
    with pytest.raises(error):
        repr(shared)
    with shared.lock(timeout=0) as box:
        assert box.value.error is error


def test_a_value_longer_than_the_reserve_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an end to the length of a pickle, and it is told; the old value stays."""
    monkeypatch.setattr("workpool.shared.in_processes.value._HALF", 1 << 20)
    shared = Shared(b"old", scope="process")
    with pytest.raises(ValueError, match="at most 1048576 bytes"):
        shared.set(b"x" * (1 << 21))
    assert shared.get() == b"old"
    assert pickle.loads(pickle.dumps(shared)).get() == b"old"
