"""What a function is called, whatever is called: no code of the user's runs for a name."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, Literal
from unittest.mock import MagicMock

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, in_background
from workpool import Pool
from workpool.naming import function_name
from workpool.scheduling.pace import Pace


class Called:
    """An object that is called."""

    def __call__(self, *_: object) -> int:
        return 1

    def method(self) -> None: ...

    @classmethod
    def of(cls) -> None: ...


class Raising(Called):
    """As a proxy outside of its context: each attribute raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class Endless(Called):
    """As a proxy of another program: each attribute is another one."""

    def __getattribute__(self, name: str) -> Any:
        return Endless()


class OfItsOwn(type):
    """A class of classes that raises."""

    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)


class Made(metaclass=OfItsOwn):
    """A class that cannot be asked."""


@functools.lru_cache
def kept() -> None: ...


class Wrapped(Called):
    """A decorator's object, which bears the name of what it wraps."""

    def __init__(self) -> None:
        functools.update_wrapper(self, tasks.double)


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (tasks.double, "double"),
        (len, "len"),
        (str.upper, "str.upper"),
        ({1: 2}.get, "dict.get"),
        (int, "int"),
        (kept, "kept"),
        (Called(), "Called"),
        (Called().method, "Called.method"),
        (Called.of, "Called.of"),
        (functools.partial(tasks.double, 1), "double"),
        (functools.partial(functools.partial(Called().method)), "Called.method"),
        (functools.partial(Called(), 1), "Called"),
        (functools.partial(Raising(), 1), "Raising"),
        (operator.itemgetter(1), "itemgetter"),
        (Wrapped(), "double"),
        (Raising(), "Raising"),
        (Endless(), "Endless"),
        (Made, "Made"),
        (MagicMock(), "MagicMock"),
    ],
    ids=iter(range(100)),  # pytest would ask some of them for their names
)
def test_everything_that_is_called_has_a_name(fn: Callable[..., Any], name: str) -> None:
    """That of a function behind it, or else of its type."""
    assert function_name(fn) == name
    pace = Pace()
    pace.measured(fn, 1.0, 1)
    assert pace.of(fn) == 1.0


@pytest.mark.parametrize("backend", ["thread", "inline"])
@pytest.mark.parametrize("make", [Raising, Endless], ids=["raising", "endless"])
def test_a_proxy_is_called_as_any_function(
    make: type[Called], backend: Literal["thread", "inline"]
) -> None:
    """Submitted, mapped and cancelled; the pool goes on, and has nothing left."""
    fn = make()
    with Pool(1, backend=backend) as pool:
        assert in_background(pool.submit(fn).result, DEADLINE).result() == 1
        assert in_background(list[int], pool.map(fn, range(3))).result() == [1, 1, 1]
        assert in_background(list[int], pool.map(fn, range(3), chunksize=1)).result() == [1] * 3
        pool.submit(fn).cancel()
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
        pool.join(DEADLINE)
        assert pool.unfinished == 0
