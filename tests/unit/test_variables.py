"""Where context variables are found, and what stands for those that a worker does not have."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import pytest

from workpool import NotPicklable
from workpool.ipc import pickling, variables
from workpool.ipc.variables import Place, found, place_of

variable: ContextVar[str] = ContextVar("variable", default="unset")
MAIN = sys.modules["__main__"]


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing found or made yet."""
    monkeypatch.setattr(variables, "_places", {})
    monkeypatch.setattr(variables, "_made", {})
    monkeypatch.setattr(variables, "_made_for", {})


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


class Watchful(ModuleType):
    """A module that counts what it is asked for in vain."""

    asked = 0

    def __getattr__(self, name: str) -> Any:
        self.asked += 1
        raise AttributeError(name)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Watchful:
    """Give a module that is loaded."""
    made = Watchful("watchful")
    monkeypatch.setitem(sys.modules, "watchful", made)
    return made


def test_a_variable_that_is_made_again_takes_the_place_of_the_old_one(module: Any) -> None:
    """A cell that is run twice, a module that is loaded again: the old one is nowhere, and no code is run to see it."""
    old = module.request = ContextVar[int]("request")
    module.holder = threading.local  # a class, in whose attributes is looked, too
    assert place_of(old) == Place("watchful", "request")
    new = module.request = ContextVar[int]("request")
    assert place_of(new) == Place("watchful", "request")
    assert place_of(old) is None
    del module.request
    assert place_of(new) is place_of(old) is None
    assert module.asked == 0
    module.request = old
    assert place_of(old) == Place("watchful", "request")  # as after a test that replaced it
    module.earlier, module.request = old, new
    assert place_of(new) == Place("watchful", "request")
    assert place_of(old) == Place("watchful", "earlier")


class Holder:
    """Has a variable as an attribute."""

    def __init__(self, held: ContextVar[Any]) -> None:
        self.held = held


def test_an_attribute_that_is_made_again_is_the_new_one(module: Any) -> None:
    """Also one of an object, or of a class, that a module has."""
    holders: list[Any] = [
        Holder(ContextVar("held")),
        type("Kept", (), {"held": ContextVar("held")}),
    ]
    for holder in holders:
        module.holder = holder
        old = holder.held
        assert place_of(old) == place_of(old) == Place("watchful", "holder.held")
        holder.held = ContextVar[int]("held")
        assert place_of(holder.held) == Place("watchful", "holder.held")
        assert place_of(old) is None
        module.holder = None
        assert place_of(holder.held) is None


def test_what_is_not_found_is_looked_for_once(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """One that is nowhere, or no longer there, costs a search when a module was loaded, and not at each call."""
    searched: list[ContextVar[Any]] = []
    search = variables._search

    def counting(wanted: ContextVar[Any]) -> Place | None:
        searched.append(wanted)
        return search(wanted)

    monkeypatch.setattr(variables, "_search", counting)
    gone = module.request = ContextVar[int]("request")
    assert place_of(gone) == place_of(gone) == Place("watchful", "request")
    assert searched == [gone]
    module.request = None
    assert [place_of(gone) for _ in range(3)] == [None] * 3
    assert searched == [gone] * 2
    monkeypatch.setitem(sys.modules, "watchful_too", ModuleType("watchful_too"))
    assert place_of(gone) is None
    assert searched == [gone] * 3


def test_a_variable_that_was_made_here_can_leave_again() -> None:
    """As a result, in an error, or to a pool of the worker: as the one it stands for."""
    place = Place("__main__", "of_a_notebook", "of_a_notebook", pickle.dumps(["x"]))
    made = found(place)
    assert place_of(made) == place
    assert pickle.loads(pickling.dumps(made)) is made
    for n in range(3):  # also when those of long ago are forgotten
        place_of(ContextVar[int](f"v{n}"))
    variables._places.clear()
    assert place_of(made) == place


def test_a_default_may_refer_to_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default goes along once: what refers to the variable inside of it refers to one without it."""
    own: ContextVar[Callable[[], Any]] = ContextVar("own", default=lambda: own)
    dumped: list[object] = []
    dumps = pickling.dumps

    def counting(value: object) -> bytes:
        dumped.append(value)
        return dumps(value)

    monkeypatch.setattr(pickling, "dumps", counting)
    monkeypatch.setattr(MAIN, "mine", own, raising=False)
    place = place_of(own)
    assert dumped == [own.get()]
    assert place is not None
    assert place.default is not None
    monkeypatch.delattr(MAIN, "mine")
    made = found(place)
    inner = made.get()()
    assert inner is not made
    assert place_of(inner) == place._replace(default=None)


def test_no_other_thread_sees_a_place_without_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the default is pickled, who asks elsewhere gets the whole place."""
    own: ContextVar[str] = ContextVar("own", default="mine")
    monkeypatch.setattr(MAIN, "mine", own, raising=False)
    seen: list[Place | None] = []
    dumps = pickling.dumps

    def asked_meanwhile(value: object) -> bytes:
        if threading.current_thread() is threading.main_thread():
            other = threading.Thread(target=lambda: seen.append(place_of(own)))
            other.start()
            other.join(10)
        return dumps(value)

    monkeypatch.setattr(pickling, "dumps", asked_meanwhile)
    assert [place_of(own)] == seen
    assert seen[0] is not None
    assert seen[0].default is not None


def test_a_variable_that_is_nowhere_says_so(module: Any) -> None:
    """Something that still refers to the old one cannot take it along as the new one."""
    old = module.request = ContextVar[int]("request")
    assert pickle.loads(pickling.dumps(old)) is old
    module.request = ContextVar("request")
    with pytest.raises(NotPicklable, match="'request' cannot go to a worker: it is no global"):
        pickling.dumps(old)
