"""Event: a flag to wait for, in threads and in processes."""

from __future__ import annotations

import multiprocessing
import threading
import time

import pytest

from workpool.shared import Event, Scope
from workpool.shared.in_processes.event import ProcessEvent

fork = multiprocessing.get_context("fork")


pytestmark = pytest.mark.usefixtures("arena")


def test_a_flag_goes_up_and_down(scope: Scope) -> None:
    """set() puts it up, clear() down; doing so twice changes nothing."""
    event = Event(scope=scope)
    assert not event.is_set()
    for _ in range(2):
        event.set()
        assert event.is_set()
    for _ in range(2):
        event.clear()
        assert not event.is_set()


def test_waiting_ends_at_once_when_it_is_up_and_with_the_timeout_when_not(scope: Scope) -> None:
    """wait() answers whether the flag is up."""
    event = Event(scope=scope)
    begin = time.monotonic()
    assert not event.wait(0)
    assert not event.wait(timeout=0.05)
    assert 0.05 <= time.monotonic() - begin < 10
    event.set()
    assert event.wait()


def test_setting_wakes_all(scope: Scope) -> None:
    """Everyone who waits goes on."""
    event = Event(scope=scope)
    got: list[bool] = []
    threads = [threading.Thread(target=lambda: got.append(event.wait())) for _ in range(4)]
    for thread in threads:
        thread.start()
    event.set()
    for thread in threads:
        thread.join(30)
    assert got == [True] * 4


def test_a_flag_that_was_up_for_a_moment_is_seen_by_those_who_waited() -> None:
    """A set() and a clear() right after it still let those go on who were waiting."""
    event = ProcessEvent.make()
    word = event._word
    seen = word.value
    event.set()
    event.clear()
    assert word.wait(seen, 0)


def test_processes_wait_for_one_another() -> None:
    """A flag put up in one process is seen in the other, back and forth."""
    ping, pong = Event(scope="process"), Event(scope="process")

    def child() -> None:
        for _ in range(20):
            assert ping.wait(30)
            ping.clear()
            pong.set()

    process = fork.Process(target=child)
    process.start()
    for _ in range(20):
        ping.set()
        assert pong.wait(30)
        pong.clear()
    process.join(30)
    assert process.exitcode == 0


def test_its_repr_tells_its_state(scope: Scope) -> None:
    """A reader sees whether it is set, and for whom it is."""
    event = Event(scope=scope)
    assert repr(event) == f"<Event not set, scope={scope!r}>"
    event.set()
    assert repr(event) == f"<Event set, scope={scope!r}>"
