"""Where context variables are found, and what stands for those that a worker does not have."""

from __future__ import annotations

import pickle
import sys
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from workpool.ipc import variables
from workpool.ipc.variables import Place, found, place_of

variable: ContextVar[str] = ContextVar("variable", default="unset")
MAIN = sys.modules["__main__"]


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing found or made yet."""
    monkeypatch.setattr(variables, "_places", {})
    monkeypatch.setattr(variables, "_made", {})


def test_what_the_program_imports_is_that_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has it there; it may not have the program's __main__."""
    monkeypatch.setattr(MAIN, "imported", variable, raising=False)
    place = place_of(variable)
    assert place == Place(__name__, "variable")
    assert found(Place(__name__, "variable")) is variable


@pytest.mark.parametrize("default", [{}, {"default": "none"}, {"default": threading.Lock()}])
def test_a_variable_of_main_is_made_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, default: dict[str, Any]
) -> None:
    """Once for its place, with its default if that can travel; where it is there, it is that one."""
    own: ContextVar[Any] = ContextVar("own", **default)
    monkeypatch.setattr(MAIN, "mine", own, raising=False)
    place = place_of(own)
    assert place is not None
    assert found(place) is own
    monkeypatch.delattr(MAIN, "mine")
    again = pickle.loads(pickle.dumps(place))
    made = found(again)
    assert found(place) is made is not own
    assert (made.name, made.get("nothing")) == ("own", "nothing")
    travels = default.get("default") == "none"
    assert (again.default is not None) is travels
    if travels:
        assert made.get() == "none"


def test_variables_of_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of where they are does not grow for ever."""
    monkeypatch.setattr(variables, "_MOST_PLACES", 3)
    for n in range(8):
        assert place_of(ContextVar[int](f"v{n}")) is None
        assert len(variables._places) <= 3
