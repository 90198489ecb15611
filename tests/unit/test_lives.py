"""Who is alive: numbers that the kernel vouches for, and those of interpreters that end before their process."""

from __future__ import annotations

import fcntl
import multiprocessing

import pytest

from tests.support.gates import DEADLINE, Gate, stop
from workpool.errors import TimeLimitExceeded
from workpool.ipc import lives, memory
from workpool.ipc.memory import Region

fork = multiprocessing.get_context("fork")

pytestmark = pytest.mark.usefixtures("arena")


def two_interpreters(region: Region, gate: str) -> None:
    """Be two in turn, the second of which ends; tell the numbers."""
    first = lives.our_number(region.arena)
    lives._announced.clear()  # another interpreter has these to itself
    lives.adopt(lives.shared_number())
    second = lives.our_number(region.arena)
    assert not lives.ended(region.arena, first)
    lives.leave()
    stop(gate, f"{first} {second}")


def test_an_interpreter_may_end_before_its_process() -> None:
    """Whoever asks hears that it has ended, and that others of its process have not."""
    region = memory.allocate(1)
    with Gate() as gate:
        process = fork.Process(target=two_interpreters, args=(region, gate.path))
        process.start()
        first, second = map(int, gate.arrival().split())
        assert not lives.ended(region.arena, first)
        # Where the kernel does not answer for one's own process, the two have one number.
        assert lives.ended(region.arena, second) is lives._ASKS
    process.join(DEADLINE)
    assert process.exitcode == 0
    process.close()
    assert lives.ended(region.arena, first)


def test_a_kernel_that_does_not_answer_tells_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then the lock is tried; and the interpreters of a process have one number, which does not end with one."""
    monkeypatch.setattr(lives, "_ASKS", False)
    region = memory.allocate(1)
    with Gate() as gate:
        process = fork.Process(target=two_interpreters, args=(region, gate.path))
        process.start()
        first, second = map(int, gate.arrival().split())
        assert first == second
        assert not lives.ended(region.arena, first)
    process.join(DEADLINE)
    assert process.exitcode == 0
    process.close()
    assert lives.ended(region.arena, first)


@pytest.mark.skipif(not lives._ASKS, reason="who has a lock is asked here")
@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeLimitExceeded])
def test_who_is_struck_while_it_tries_keeps_no_lock(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    """What strikes comes out, and the number is not taken for one that lives."""
    region, lockf = memory.allocate(1), fcntl.lockf

    def strike(fd: int, operation: int, length: int, start: int) -> None:
        lockf(fd, operation, length, start)
        if operation != fcntl.LOCK_UN:
            raise kind

    monkeypatch.setattr(lives, "_ASKS", False)
    monkeypatch.setattr(fcntl, "lockf", strike)
    with pytest.raises(kind):
        lives.ended(region.arena, lives.NOBODY)
    assert not lives._held(region.arena.locks_fd, lives.NOBODY)


def test_nobody_has_ended() -> None:
    """The number that no process has is one that can be taken from, by whoever asks."""
    assert lives.ended(memory.allocate(1).arena, lives.NOBODY)
