"""By what a journal knows what a function holds: looked into, also where it has no pickle."""

from __future__ import annotations

import functools
import io
import socket
import threading
import weakref
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any, cast

import pytest

from tests.support.scripts import printed_with_other_hashes
from tests.support.tasks import echo
from workpool import NotPicklable
from workpool.journal import holdings
from workpool.journal.identity import identify

Function = Callable[..., Any]


def code(fn: Function) -> str:
    return identify(fn, star=False, version=None).code


def made(source: str) -> Function:
    """Make the function ``f`` of some source text."""
    space: dict[str, Any] = {}
    exec(source, space)
    fn: Function = space["f"]
    return fn


BEFORE = "def f(n):\n    'One.'\n    return n + 1"
AS_GOOD = "\n\ndef f(n):\n    'Another.'\n    return n + 1  # moved"
AFTER = "def f(n):\n    return n + 2"


class Scorer:
    """Settings, a lock, and ways that lead back to itself."""

    def __init__(self, fn: Function) -> None:
        self.fn = fn
        self.lock = threading.Lock()
        self.me = self
        self.scoring = self.score
        self.friends = {self}

    def score(self, n: int) -> Any:
        return self.fn(n)


class Slotted:
    """An object with slots that is called."""

    __slots__ = ("fn", "lock")

    def __init__(self, fn: Function) -> None:
        self.fn = fn
        self.lock = threading.Lock()

    def __call__(self, n: int) -> Any:
        return self.fn(n)


class Plain:
    """What has a pickle, with a function by its name in it."""

    def __init__(self, fn: Function) -> None:
        self.fn = fn


class Refusing(Plain):
    """What says by itself that it has no pickle."""

    def __reduce__(self) -> str:
        raise TypeError


class Wrapping(Refusing):
    """A wrapper as decorators make them."""

    def __call__(self, n: int) -> Any:
        return self.fn(n)

    def __init__(self, fn: Function, times: int = 3) -> None:
        functools.update_wrapper(cast("Function", self), fn)
        self.times = times


def closing_over(held: Any) -> Function:
    def fn(n: int) -> Any:
        return held, n

    return fn


def cached_method(fn: Function) -> Function:
    class Cached:
        method = functools.lru_cache(fn)

    method: Function = Cached().method
    return method


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "cached": functools.cache,
    "cached method": cached_method,
    "staticmethod": staticmethod,
    "slots": Slotted,
    "wrapper": Wrapping,
    "method": lambda fn: Scorer(fn).score,
    "partial": lambda fn: partial(echo, Scorer(fn)),
    "in what has a pickle": lambda fn: partial(echo, Plain(fn)),
    "in what refuses": lambda fn: partial(echo, [Refusing(fn), threading.Lock()]),
    "cached, bound": lambda fn: partial(echo, functools.cache(fn)),
    "cached, in a set": lambda fn: partial(echo, {functools.cache(fn), 1}),
    "dict": lambda fn: closing_over({"k": fn, "lock": threading.Lock()}),
    "proxy": lambda fn: closing_over(MappingProxyType({"k": (fn, threading.Lock())})),
    "in itself": lambda fn: closing_over(Scorer(closing_over(fn))),
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_a_function_is_looked_at_wherever_it_lies(hold: Callable[[Any], Function]) -> None:
    """Wrapped, bound, closed over, in what has no pickle or holds itself: its code counts, what is told of it not."""
    assert code(hold(made(BEFORE))) == code(hold(made(BEFORE)))
    assert code(hold(made(BEFORE))) == code(hold(made(AS_GOOD)))
    assert code(hold(made(BEFORE))) != code(hold(made(AFTER)))


def test_settings_beside_what_has_no_pickle_count() -> None:
    """A number beside a lock, or of a wrapper, is a setting."""
    assert code(closing_over({"k": 1, "lock": threading.Lock()})) != code(
        closing_over({"k": 2, "lock": threading.Lock()})
    )
    assert code(Wrapping(echo, 2)) != code(Wrapping(echo, 3))


MACHINERY: dict[str, Callable[[], Any]] = {
    "lock": threading.Lock,
    "event": threading.Event,
    "thread": threading.Thread,
    "weak references": lambda: weakref.WeakKeyDictionary({echo: 1}),
    "generator": lambda: (n for n in range(3)),
    "file": lambda: io.TextIOWrapper(io.BufferedReader(io.BytesIO())),
}


@pytest.mark.parametrize("make", MACHINERY.values(), ids=MACHINERY)
def test_what_makes_a_program_run_counts_by_its_type(make: Callable[[], Any]) -> None:
    """Locks, threads, files: one is as good as another, and another type is not."""
    assert code(closing_over(make())) == code(closing_over(make()))
    assert code(closing_over(make())) != code(closing_over(None))


def test_a_socket_counts_by_its_type() -> None:
    """Its number is another one in each run."""
    with socket.socket() as one, socket.socket() as other:
        assert code(closing_over([one])) == code(closing_over([other]))


SCRIPT = """
import functools, threading
from workpool.journal.identity import identify
class Scorer:
    def __init__(self, fn):
        self.fn, self.lock, self.me = fn, threading.Lock(), self
        self.words, self.friends = {"a", "b", "c", "d"}, {fn, len, self.score, "x", 7}
    def score(self, n):
        return self.fn(n)
kinds = frozenset({str, int, bytes, Scorer})
print(identify(Scorer(functools.cache(lambda n: n in kinds)).score, star=False, version=None).code)
"""


def test_what_is_looked_into_is_the_same_in_another_process() -> None:
    """No address and no order of a set goes in."""
    assert len(printed_with_other_hashes(SCRIPT)) == 1


def test_what_is_too_much_asks_for_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an end to looking; a version looks at nothing."""
    monkeypatch.setattr(holdings, "MOST", 10)
    fn = closing_over({"k": [Plain(echo) for _ in range(20)]})
    with pytest.raises(NotPicklable, match=r"holds more than 10 objects.* version='1'") as refusal:
        code(fn)
    assert refusal.value.part == "function"
    assert identify(fn, star=False, version="1").version == "1"


def test_a_list_in_itself_has_an_end() -> None:
    """What a function is bound to may lead back to itself."""
    held: list[Any] = [1]
    held.append(held)
    assert code(partial(echo, held)) == code(partial(echo, held))
