"""``concurrent.futures.wait`` and ``as_completed`` on tasks that end, or are interrupted, at any moment of them.

The standard library's own steps are gone through moment by moment: at each in turn a task ends, or
Ctrl-C strikes the thread that waits.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    Future,
    as_completed,
    wait,
)
from contextlib import suppress
from functools import partial
from typing import Any, cast

import pytest

from tests.support.gates import DEADLINE, Running, in_background
from tests.support.interrupts import at_moment, interrupted_at
from workpool import Task

SOON = 5.0  # seconds; far more than any of this takes
# An interpreter that is interrupted in a generator that is let go says so and goes on.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Futures = list[Future[int]]


@pytest.fixture(autouse=True)
def default_handler() -> Generator[None]:
    """Have Ctrl-C raise KeyboardInterrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def make(*, plain: bool = False) -> Futures:
    """Make three tasks, and a plain future between them where that is asked for."""
    tasks: Futures = [Task(), Task(), Task()]
    for task in tasks:
        task.set_running_or_notify_cancel()
        task.add_done_callback(int_of)
    if plain:
        tasks.insert(1, Future())
    return tasks


def int_of(_: object) -> int:
    """Be called back: tasks that somebody has asked of are announced."""
    return 0


def at_every_moment(
    consume: Callable[[Futures], Any], end: Callable[[Future[int]], object], *, plain: bool = False
) -> Generator[tuple[Futures, Any]]:
    """Wait for three tasks; one ends at each moment of that in turn, the others soon after."""
    number = 0
    going_on = True
    while going_on:
        futures = make(plain=plain)
        came, going_on = _waited(number, futures, consume, end)
        yield futures, came
        number += 1
    assert number > 20


def _waited(
    number: int,
    futures: Futures,
    consume: Callable[[Futures], Any],
    end: Callable[[Future[int]], object],
) -> tuple[Any, bool]:
    """Give what came of the wait, and whether it had that moment before its end."""
    came: list[Any] = []
    ends: list[Running[Any]] = []
    once = threading.Lock()  # taken by who ends it, for good
    late = threading.Event()

    def end_one(_: object) -> None:
        if not once.acquire(blocking=False):
            return
        ends.append(in_background(end, futures[-2]))
        if not futures[0]._lock._is_owned():  # type: ignore[attr-defined]  # in no stub
            # At this moment; or right after it, where this thread has the lock of an event for a step.
            ends[0].thread.join(0.05)

    def end_others() -> None:
        for each in futures:
            if each is not futures[-2]:
                each.set_result(0)

    def end_all() -> None:
        if once.acquire(blocking=False):  # there is no such moment before the end: the last round
            late.set()
            ends.append(in_background(end, futures[-2]))

    timers = [threading.Timer(0.005, end_others), threading.Timer(1.0, end_all)]
    for timer in timers:
        timer.start()
    try:
        reached = at_moment(number, lambda: came.append(consume(futures)), end_one)
    finally:
        timers[1].cancel()
        for timer in timers:
            timer.join(DEADLINE)
    for each in ends:
        each.result(SOON)
    return came[0], reached and not late.is_set()


def end_well(task: Future[int]) -> None:
    task.set_result(1)


def end_badly(task: Future[int]) -> None:
    task.set_exception(ValueError())


@pytest.mark.parametrize("end", [end_well, end_badly])
def test_as_completed_gives_each_task_once_whenever_it_ends(
    end: Callable[[Future[int]], object],
) -> None:
    """Wherever in as_completed a task ends: it comes once, and so do the others."""
    for futures, came in at_every_moment(lambda fs: list(as_completed(fs, DEADLINE)), end):
        assert sorted(map(id, came)) == sorted(map(id, futures))


@pytest.mark.parametrize("plain", [False, True])
def test_wait_for_all_is_not_over_early_whenever_a_task_ends(plain: bool) -> None:
    """Wherever in wait a task ends: it returns when all are done, not one before, and in time."""
    consume: Callable[[Futures], Any] = lambda fs: wait(fs, DEADLINE, ALL_COMPLETED)  # noqa: E731 - as the others
    for futures, came in at_every_moment(consume, end_well, plain=plain):
        assert came.done == set(futures)


def test_wait_for_the_first_hears_of_a_task_whenever_it_ends() -> None:
    """Wherever in wait(FIRST_COMPLETED) a task ends: it is heard."""
    for _, came in at_every_moment(lambda fs: wait(fs, DEADLINE, FIRST_COMPLETED), end_well):
        assert came.done


def test_wait_for_a_failure_hears_of_it_whenever_it_comes() -> None:
    """Wherever in wait(FIRST_EXCEPTION) a task fails: that, or the end of all, ends the wait."""
    for futures, came in at_every_moment(lambda fs: wait(fs, DEADLINE, FIRST_EXCEPTION), end_badly):
        assert futures[-2] in came.done or came.done == set(futures)


def end_and_iterate(futures: Futures) -> set[Future[int]]:
    for each in futures:
        if not each.done():
            each.set_result(1)
    return set(as_completed(futures, DEADLINE))


def iterate(futures: Futures) -> None:
    with suppress(TimeoutError):
        list(as_completed(futures, 0.002))


@pytest.mark.parametrize(
    "waits",
    [
        pytest.param(lambda fs: wait(fs, 0.002), id="wait"),
        pytest.param(lambda fs: wait(fs, 0.002, FIRST_COMPLETED), id="first"),
        pytest.param(iterate, id="as_completed"),
    ],
)
@pytest.mark.parametrize("some_done", [False, True])
def test_who_brings_an_outcome_never_waits_for_who_was_interrupted(
    some_done: bool, waits: Callable[[Futures], object]
) -> None:
    """Wherever in wait or as_completed Ctrl-C strikes: tasks end, and whoever else waits hears of it."""
    number = 0
    going_on = True
    while going_on:
        futures = make()
        if some_done:
            futures[0].set_result(0)
        other = in_background(wait, futures, DEADLINE)
        going_on = interrupted_at(number, partial(waits, futures))
        later = in_background(end_and_iterate, futures)
        assert later.result(SOON) == set(futures), number
        assert other.result(SOON).done == set(futures), number
        number += 1
    assert number > 20


def test_an_interrupted_reader_is_told_of_by_the_very_waiter() -> None:
    """Ctrl-C in as_completed while outcomes come in: those who bring them are through all the same."""
    number = 0
    going_on = True
    while going_on:
        futures = make()
        bringing: list[Running[None]] = []

        def bring(futures: Futures = futures, bringing: list[Running[None]] = bringing) -> None:
            # Begun at the very moment of the interrupt: it may well come to a lock that is held.
            bringing += [in_background(each.set_result, 1) for each in futures if not each.done()]

        def read(futures: Futures = futures) -> None:
            for done in as_completed(futures, DEADLINE):
                for each in futures:
                    if each is not done and not each.done():
                        each.set_result(0)
                        break

        futures[0].set_result(0)
        going_on = interrupted_at(number, read, bring)
        for each in bringing:
            with suppress(Exception):  # the reader had settled it
                each.result(SOON)
        number += 1
    assert number > 50


def test_a_task_has_a_condition_to_wait_on() -> None:
    """Whoever waits on a task's condition is woken by its end, and by notify."""
    task = cast("Any", Task[int]())
    task.set_running_or_notify_cancel()

    def until_done() -> str:
        with task._condition:
            while task._state != "FINISHED":
                task._condition.wait(DEADLINE)
            return str(task._state)

    waiting = in_background(until_done)
    with task._condition:
        assert not task._condition.wait(0.01)
        assert not task._condition.wait_for(task.done, 0.01)
    task.set_result(1)
    assert waiting.result() == "FINISHED"
    with task._condition:
        assert task._condition.wait_for(task.done, 0.01)
        assert not task._condition.wait(0.01)
        task._condition.notify()
        task._condition.notify_all()
    for misused in (task._condition.release, task._condition.wait):
        with pytest.raises(RuntimeError, match="did not acquire"):
            misused()


def test_notify_wakes_who_waits_on_a_condition() -> None:
    """One by notify(), all by notify_all()."""
    task = cast("Any", Task[int]())
    asleep = threading.Semaphore(0)

    def sleep() -> bool:
        with task._condition:
            asleep.release()
            return bool(task._condition.wait(DEADLINE))

    waits = [in_background(sleep) for _ in range(3)]
    for _ in waits:
        assert asleep.acquire(timeout=DEADLINE)
    woken = threading.Event()

    def wake() -> None:
        while not woken.is_set():
            with task._condition:
                task._condition.notify()
                task._condition.notify_all()

    waker = in_background(wake)
    try:
        assert [each.result() for each in waits] == [True] * 3
    finally:
        woken.set()
        waker.result()
