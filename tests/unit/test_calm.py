"""Steps that are done whole although handlers of signals raise: who hears what and when, and what is set after."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.gates import DEADLINE, in_background
from workpool import calm
from workpool.calm import Listening, calmly, loudly

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGUSR2"), reason="signals that a program may use"
)
# As they are set, in the order of the file: each comes in a moment when those before it are set.
NAMES = ["SIGINT", "SIGTERM", "SIGALRM", "SIGUSR1"]


class Heard(Exception):
    """What a handler raises."""


@pytest.fixture
def raising() -> Generator[dict[int, Callable[[int, Any], None]]]:
    """Handlers that raise; afterwards those of the tests are back."""

    def handler(number: int, _: Any) -> None:
        heard.append(number)
        raise Heard(number)

    heard: list[int] = []
    numbers = [int(getattr(signal, name)) for name in NAMES]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield dict.fromkeys(numbers, handler)
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _now(handlers: dict[int, Any]) -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in handlers}


def _ring(numbers: list[int], done: list[str]) -> str:
    for number in numbers:
        signal.raise_signal(number)
    done.append("whole")
    return "whole"


@pytest.mark.parametrize("how_many", [1, 2, 3])
def test_what_comes_in_a_step_is_heard_after_it(how_many: int, raising: dict[int, Any]) -> None:
    """The step is whole; then each handler is called, whatever that before it raises."""
    called: list[int] = []

    def handler(number: int, _: Any) -> None:
        called.append(number)
        if len(called) < 3:
            raise Heard(number)

    numbers = list(raising)[:how_many]
    for number in raising:
        signal.signal(number, handler)
    before = _now(raising)
    done: list[str] = []
    with pytest.raises(Heard):
        calmly(_ring, numbers, done)
    assert done == ["whole"]
    assert called == numbers
    assert _now(raising) == before


def test_a_step_in_a_step_hears_nothing_either(raising: dict[int, Any]) -> None:
    """Inside and outside: both are whole before it is heard."""
    done: list[str] = []

    def outer() -> None:
        calmly(_ring, list(raising)[1:], done)
        done.append("outer")

    with pytest.raises(Heard):
        calmly(outer)
    assert done == ["whole", "outer"]
    assert _now(raising) == raising


def test_user_code_in_a_step_hears_at_once(raising: dict[int, Any]) -> None:
    """A callback: also where a step of its own is in between, and once more after that."""
    done: list[str] = []

    def callback() -> None:
        with pytest.raises(Heard):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Heard):
            calmly(_ring, [signal.SIGTERM], done)
        loudly(int)
        with pytest.raises(Heard):
            signal.raise_signal(signal.SIGALRM)
        done.append("callback")

    def step() -> None:
        loudly(callback)
        _ring([signal.SIGUSR1], done)

    with pytest.raises(Heard, match=str(int(signal.SIGUSR1))):
        calmly(step)
    assert done == ["whole", "callback", "whole"]
    assert _now(raising) == raising


SET_ONE = """
from signal import SIGINT, SIGUSR1, raise_signal

def set_one(number, handler):
    bare(number, handler)
    settings.append(number)
    if len(settings) - 1 == at:
        raise_signal(SIGINT)
    if len(settings) - 1 == second:
        raise_signal(SIGUSR1)
"""


def _exchanged(at: int, second: int | None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have a signal come right after a handler is set, for the time with that number; gives their numbers."""
    settings: list[int] = []
    known = {"settings": settings, "bare": calm._signal.signal, "at": at, "second": second}
    exec(compile(SET_ONE, calm.__file__, "exec"), known)  # a step of that file
    stand_in = SimpleNamespace(signal=known["set_one"], getsignal=signal.getsignal)
    monkeypatch.setattr(calm, "_signal", stand_in)
    return settings


@pytest.mark.parametrize("at", range(2 * len(NAMES)))
def test_a_signal_while_handlers_are_set(
    at: int, raising: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are set and some are not: the step is whole, it is heard after that, and the user's handlers are back."""
    settings = _exchanged(at, None, monkeypatch)
    done: list[str] = []
    with pytest.raises(Heard, match=str(int(signal.SIGINT))):
        calmly(_ring, [], done)
    assert len(settings) > at
    # In the first half those of ours are being set, SIGINT's before any other: it is noted.
    assert done == ["whole"]
    assert _now(raising) == raising
    assert not calm._steps


@pytest.mark.parametrize("at", range(2 * len(NAMES)))
def test_a_signal_while_handlers_are_set_to_listen(
    at: int, raising: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where a block listens: what is heard as it begins or ends is raised at its end."""
    _exchanged(at, None, monkeypatch)
    done: list[str] = []
    with pytest.raises(Heard), Listening(lambda _: False):
        done.append("block")
    assert done == ["block"]
    assert _now(raising) == raising
    assert not calm._steps


def _listening(call: Callable[..., object], *args: Any) -> None:
    with Listening(lambda _: False):
        call(*args)


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("second", range(len(NAMES)))
def test_a_handler_that_is_not_exchanged_yet(
    second: int, listens: bool, raising: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raises: the step, or the block, is not begun, and the others are as they were; the last is late, and noted."""
    _exchanged(-1, second, monkeypatch)
    done: list[str] = []
    with pytest.raises(Heard):
        (_listening if listens else calmly)(done.append, "block")
    assert len(done) == (second == len(NAMES) - 1)
    assert _now(raising) == raising
    assert not calm._steps


def test_who_sets_a_handler_in_a_block_that_listens_keeps_it(raising: dict[int, Any]) -> None:
    """It is not ours to replace."""

    def theirs(*_: Any) -> None: ...

    with Listening(lambda _: False):
        signal.signal(signal.SIGTERM, theirs)
    assert _now(raising) == raising | {int(signal.SIGTERM): theirs}


@pytest.mark.parametrize("inside", ["a step", "a block"])
def test_user_code_in_a_step_may_set_a_handler(inside: str, raising: dict[int, Any]) -> None:
    """The new one stays, also behind the steps around; and the old one, set again, is the user's."""

    def theirs(*_: Any) -> None: ...

    old: list[Any] = []

    def callback() -> None:
        old.extend(signal.signal(number, theirs) for number in (signal.SIGTERM, signal.SIGINT))

    def step() -> None:
        if inside == "a step":
            calmly(loudly, callback)
        else:
            with Listening(lambda _: True):
                loudly(callback)

    calmly(step)
    changed = dict.fromkeys([int(signal.SIGTERM), int(signal.SIGINT)], theirs)
    assert _now(raising) == raising | changed
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), old, strict=True):
        signal.signal(number, handler)
        with pytest.raises(Heard, match=str(int(number))):
            signal.raise_signal(number)


def test_what_is_noted_in_a_block_is_raised_at_its_end(raising: dict[int, Any]) -> None:
    """And what was caught in it, too."""
    done: list[str] = []

    def ring(keeps_books: bool) -> None:
        with Listening(lambda _: keeps_books) as listening:
            try:
                signal.raise_signal(signal.SIGTERM)
            except Heard:
                done.append("caught")
            assert isinstance(listening.raised, Heard)
            done.append("block")

    for keeps_books in (True, False):
        with pytest.raises(Heard):
            ring(keeps_books)
    assert done == ["block", "caught", "block"]


def test_another_thread_exchanges_nothing(raising: dict[int, Any]) -> None:
    """Signals are heard in the main thread alone."""
    assert in_background(calmly, _now, raising).result(DEADLINE) == raising
    assert calmly(_now, raising) != raising


def _fork(check: Callable[[], bool]) -> int:
    """Fork from a thread that is not the main one; gives the exit code, 0 if the check holds in the child."""

    def fork() -> int:
        pid = os.fork()
        if not pid:
            os._exit(not check())
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return in_background(fork).result(DEADLINE)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_the_handlers_of_the_user(raising: dict[int, Any]) -> None:
    """Though the main thread, which is not there, is in a step in a block that listens."""

    def as_set() -> bool:
        return _now(raising) == raising and not calm._steps

    with Listening(bool):
        assert not as_set()
        assert calmly(_fork, as_set) == 0
    assert as_set()


def test_another_interpreter_hears_nothing() -> None:
    """Its main thread is not that of the process, and asks for no handler."""
    interpreters = pytest.importorskip("concurrent.interpreters")
    interpreter = interpreters.create()
    try:
        interpreter.exec(
            "from workpool import calm\n"
            "assert calm.calmly(calm._handlers) == {}\n"
            "with calm.Listening(bool): pass\n"
        )
    finally:
        interpreter.close()
