"""Ctrl-C in the user's own code that a call of ours runs, and whose errors it takes for an answer: it is heard."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from typing import Any, NoReturn

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.queues import until
from workpool import NotPicklable, Pool, Queue, Shared

pytestmark = pytest.mark.usefixtures("arena", "default_handler")


class Slow:
    """Cannot be pickled, and is tried again and again to find that out; at one of these times Ctrl-C is pressed."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __reduce__(self) -> NoReturn:
        self.left -= 1
        if not self.left:
            signal.raise_signal(signal.SIGINT)
        raise NotImplementedError


class Mute(Exception):
    """Takes long to say what it is."""

    def __str__(self) -> str:
        signal.raise_signal(signal.SIGINT)
        return ""


class Sorry:
    def __reduce__(self) -> NoReturn:
        raise Mute


def _closure(thing: object) -> Callable[[int], object]:
    return lambda _: thing


CALLS: dict[str, Callable[[Pool, Any], object]] = {
    "submit": lambda pool, thing: pool.submit(tasks.echo, [thing]).result(DEADLINE),
    "function": lambda pool, thing: pool.submit(_closure(thing), 1).result(DEADLINE),
    "put": lambda _, thing: Queue[Any](scope="process").put([thing]),
    "shared": lambda _, thing: Shared(thing, scope="process"),
    "initargs": lambda _, thing: Pool(
        1, backend="process", initializer=tasks.echo, initargs=(thing,)
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_while_it_is_found_out_what_cannot_be_pickled(call: str) -> None:
    """At whichever try: KeyboardInterrupt comes out, and not an error that blames the value."""
    with Pool(1, backend="process") as pool:
        at = 1
        while True:
            thing = Slow(at)
            try:
                with pytest.raises(KeyboardInterrupt):
                    CALLS[call](pool, thing)
            except NotPicklable:
                assert thing.left > 0, at
                break
            at += 1
        assert at > 1
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


@pytest.mark.parametrize("call", CALLS)
def test_while_an_error_is_asked_what_it_says(call: str) -> None:
    """Its text is part of ours; who presses Ctrl-C meanwhile is heard."""
    with Pool(1, backend="process") as pool, pytest.raises(KeyboardInterrupt):
        CALLS[call](pool, Sorry())


ENDS: dict[str, Callable[[Pool, Any], object]] = {
    "cancel": lambda _, task: task.cancel(),
    "shutdown": lambda pool, _: pool.shutdown(cancel_futures=True, wait=False),
    "kill": lambda pool, _: pool.kill(),
}


@pytest.fixture
def exits() -> Generator[None]:
    """Have SIGTERM end the program as a service does."""

    def leave(*_: object) -> NoReturn:
        raise SystemExit

    before = signal.signal(signal.SIGTERM, leave)
    yield
    signal.signal(signal.SIGTERM, before)


# Signals, and what their handlers raise.
RAISES = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]


@pytest.mark.usefixtures("exits")
@pytest.mark.parametrize(("by", "error"), RAISES)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("backend", ["thread", "process"])
def test_in_a_callback(
    backend: Any, end: str, by: int, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """The callback is left, those after it are called, the books are done, and then it is raised."""
    heard: list[str] = []
    pool = Pool(1, backend=backend)
    with Gate() as gate:
        pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        queued = pool.submit(tasks.double, 1)

        def ring(_: object) -> None:
            signal.raise_signal(by)
            heard.append("the rest of it")

        queued.add_done_callback(ring)
        queued.add_done_callback(lambda _: heard.append("next"))
        with pytest.raises(error):
            ENDS[end](pool, queued)
        assert queued.cancelled()
        assert heard == ["next"]
    in_background(pool.join, DEADLINE).result()
    assert pool.unfinished == 0
    in_background(pool.shutdown).result()
    assert "callback" not in caplog.text  # it is not the callback's fault


@pytest.mark.usefixtures("exits")
@pytest.mark.parametrize(("by", "error"), RAISES)
def test_in_a_callback_of_a_result_that_is_read_here(
    by: int, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever waits for a process may read the result itself, and call the callbacks: it is the same there."""
    heard: list[str] = []
    main = threading.get_ident()

    def ring(_: object) -> None:
        if threading.get_ident() == main:
            signal.raise_signal(by)
            heard.append("the rest of it")

    with Pool(1, backend="process") as pool:

        def struck() -> bool:
            heard.clear()
            task = pool.submit(tasks.double, 1)
            task.add_done_callback(ring)
            task.add_done_callback(lambda _: heard.append("next"))
            try:
                return task.result(DEADLINE) == 0
            except error:
                return True

        until(struck)  # the driver was quicker where nothing was raised
        assert heard == ["next"]
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    assert "callback" not in caplog.text


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_a_callback_that_waits_for_ever_can_be_ended(backend: Any) -> None:
    """It waits for a task that waits for a gate: Ctrl-C gets through to it, and the gate is opened after that."""
    with Gate() as gate, Pool(1, backend=backend) as pool:
        held = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        queued = pool.submit(tasks.double, 1)

        def wait(_: object) -> None:
            try:
                in_background(signal.pthread_kill, main, signal.SIGINT)
                held.result(DEADLINE)
            except BaseException as error:
                ended.append(type(error))
                raise

        ended: list[type[BaseException]] = []
        main = threading.get_ident()
        queued.add_done_callback(wait)
        with pytest.raises(KeyboardInterrupt):
            queued.cancel()
        assert ended == [KeyboardInterrupt]
        assert not held.done()
        gate.open()
        assert held.result(DEADLINE) == 1


def test_what_a_callback_raises_where_ctrl_c_is_ignored_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody pressed it: a KeyboardInterrupt there is an error like any other, and is not lost."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Pool(1) as pool, Gate() as gate:
        pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        queued = pool.submit(tasks.double, 1)
        queued.add_done_callback(lambda _: tasks.fail(KeyboardInterrupt()))
        assert queued.cancel()
    assert "exception calling callback" in caplog.text
