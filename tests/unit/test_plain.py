"""What a program says in strings and numbers of its own types reaches workers as the strings and numbers they are."""

from __future__ import annotations

import enum
import logging
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gates import DEADLINE, Gate
from tests.support.tasks import double, hold
from workpool import NotPicklable, Pool, TimeLimitExceeded, current
from workpool.backends.process import packing
from workpool.ipc import fresh
from workpool.plain import paths, plain, words
from workpool.settings import Settings


class Text(str):
    """A string that has another one for its ``str``."""

    __slots__ = ()

    def __str__(self) -> str:
        return "another"


class Number(enum.IntEnum):
    INFO = logging.INFO


class Seconds(float):
    def __float__(self) -> float:
        raise RuntimeError("nobody is to ask")


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool of one process, whose name is of a type of its own."""
    with Pool(1, backend="process", name=Text("a")) as made:
        yield made


@pytest.mark.parametrize(
    ("odd", "exact"),
    [
        (Text("a"), "a"),
        (Number.INFO, 20),
        (Seconds(0.5), 0.5),
        (True, True),
        (None, None),
        ("a", "a"),
    ],
    ids=["str", "int", "float", "bool", "None", "exact"],
)
def test_a_value_of_a_subclass_is_made_plain(odd: object, exact: object) -> None:
    """By no code of its class, and without being made anything else."""
    assert (type(plain(odd)), plain(odd)) == (type(exact), exact)


class Raises:
    def __fspath__(self) -> str:
        raise RuntimeError("no path")


def test_places_to_import_from_are_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path object says its name; what is no path is left out."""
    entries: list[Any] = [Path("/a"), b"/b", "/c", Text("a"), None, 3, Raises()]
    assert paths(entries) == ["/a", "/b", "/c", "a"]
    assert {type(path) for path in paths(entries)} == {str}
    monkeypatch.setattr(sys, "path", entries + sys.path)
    assert fresh.sys_path()[:4] == ["/a", "/b", "/c", "a"]  # which is put into code


def test_arguments_of_a_program_are_words() -> None:
    """Strings and numbers stay what they are; anything else says its text."""
    assert words([Text("a"), Path("/a"), 5, "x"]) == ["a", "/a", 5, "x"]
    assert {type(word) for word in words([Text("a"), Path("/a")])} == {str}


def test_names_of_any_string_type(pool: Pool) -> None:
    """Of a pool, a task and a map call."""
    view = pool.options(name=Text("a"))
    assert view.submit(name_of_mine).result(DEADLINE) == "a"
    assert list(view.map(double, [1, 2], timeout=DEADLINE)) == [2, 4]
    assert type(pool.name) is str


def name_of_mine() -> str | None:
    return current().task_name


def test_a_limit_of_any_number_type(pool: Pool) -> None:
    """The worker is told of the limit, and the task is warned."""
    view = pool.options(time_limit=Seconds(0.1), grace=Seconds(DEADLINE))
    with Gate() as gate:
        task = view.submit(hold, gate.path, 1)
        assert isinstance(task.exception(DEADLINE), TimeLimitExceeded)
    assert pool.submit(double, 2).result(DEADLINE) == 4


def test_settings_of_any_type() -> None:
    """All that are strings or numbers."""
    settings = Settings(max_workers=Number.INFO, queue_size=Number.INFO, start_method=Text("a"))
    given = (settings.max_workers, settings.queue_size, settings.start_method)
    assert [(type(one), one) for one in given] == [(int, 20), (int, 20), (str, "a")]


def test_a_worker_starts_whatever_the_program_has_put_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Path objects to import from, arguments that are none, levels of loggers that are members of an enum."""
    monkeypatch.setattr(sys, "path", [Path("/nowhere"), *sys.path])
    monkeypatch.setattr(sys, "argv", [Path("program"), 5, Text("a")])
    monkeypatch.setattr(logging.getLogger("tests.plain"), "level", Number.INFO)
    with Pool(1, backend="process", logs=True) as pool:
        assert pool.submit(arguments).result(DEADLINE) == ["program", 5, "a"]


def arguments() -> list[Any]:
    return sys.argv


def test_what_cannot_be_told_costs_nobody_else(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a name slips through all the same, that call fails and says so; the pool goes on."""
    monkeypatch.setattr(packing, "plain", lambda value: value)
    view: Any = pool.options(name="a")
    object.__setattr__(view._terms, "name", Text("a"))
    with pool.group() as group:
        good = [group.submit(double, n) for n in range(3)]
        bad = view.submit(double, 3)
        good += [group.submit(double, n) for n in range(3, 6)]
    assert [task.result(DEADLINE) for task in good] == [2 * n for n in range(6)]
    results: list[Any] = list(view.map(double, range(3), return_exceptions=True, timeout=DEADLINE))
    for error in (bad.exception(DEADLINE), *results):
        assert isinstance(error, NotPicklable)
        assert "cannot be sent to a worker" in str(error)
    assert pool.submit(double, 2).result(DEADLINE) == 4
