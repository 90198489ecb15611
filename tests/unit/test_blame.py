"""When something cannot travel, the message says what it is, where in the argument, and why."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE
from workpool import NotPicklable, Pool
from workpool.errors import brief


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool of processes, of which none is started."""
    with Pool(1, backend="process") as made:
        yield made


class Unspeakable:
    """A key whose repr fails."""

    def __repr__(self) -> str:
        raise LookupError("no words")


def lock() -> Any:
    return threading.Lock()


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": lock()}, "['a']"),
        ({"a": [0, lock()]}, "['a'][1]"),
        ([1, {"b": tasks.Locked()}], "[1]['b'].cache['lock']"),
        ((0, lock()), "[1]"),
        ({7: {None: lock()}}, "[7][None]"),
        (tasks.Locked(), "cache['lock']"),
    ],
    ids=["dict", "list in dict", "object in dict", "tuple", "keys of all kinds", "object"],
)
def test_the_way_to_what_cannot_travel_is_shown(pool: Pool, value: Any, path: str) -> None:
    """The path leads through dicts, sequences and attributes to the innermost object that has no pickle."""
    error = pool.submit(tasks.echo, value).exception(DEADLINE)
    assert isinstance(error, NotPicklable)
    assert f"holds a lock at {path}: " in str(error)
    assert (error.part, error.path) == ("argument", path)


def test_long_keys_are_cut(pool: Pool) -> None:
    """A key of a thousand characters does not make the message one of a thousand characters."""
    error = pool.submit(tasks.echo, {"k" * 1000: lock()}).exception(DEADLINE)
    assert isinstance(error, NotPicklable)
    assert "['kkkk" in error.path
    assert error.path.endswith("...]")
    assert len(str(error)) < 500


def test_what_cannot_be_shown_is_named_all_the_same(pool: Pool) -> None:
    """Where the way leads through what fails to show itself, the argument is named without it."""
    error = pool.submit(tasks.echo, {Unspeakable(): lock()}).exception(DEADLINE)
    assert isinstance(error, NotPicklable)
    assert "argument 0 (counted from 0) (dict): " in str(error)
    assert error.path == ""


def test_a_search_in_something_huge_ends(pool: Pool) -> None:
    """Among very many parts the search is given up, and what was found until then is told."""
    values: list[Any] = [*range(100_000), lock()]
    error = pool.submit(tasks.echo, {"all": values}).exception(DEADLINE)
    assert isinstance(error, NotPicklable)
    assert error.path == "['all']"


def test_long_errors_are_cut() -> None:
    """The text of an error that is put into another one has a bounded length, and says how long it was."""
    text = brief(ValueError("x" * 100_000))
    assert text.startswith("ValueError: xxx")
    assert text.endswith("... (100000 characters)")
    assert len(text) < 5_000
