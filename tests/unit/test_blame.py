"""When something cannot travel, the message says what it is, where in the argument, and why."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE
from workpool import Counter, NotPicklable, Pool, Task
from workpool.errors import brief
from workpool.ipc import blaming, pickling


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool of processes, of which none is started."""
    with Pool(1, backend="process") as made:
        yield made


class Unspeakable:
    """A key whose repr fails."""

    def __repr__(self) -> str:
        raise LookupError("no words")


def count_up(n: int) -> Generator[int]:
    yield from range(n)


async def later(n: int) -> int:
    return n


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


class Holder(tasks.Locked):
    """What can be called, and has a method."""

    def look(self, n: int) -> int:
        return n

    __call__ = look


def closed_over(held: Any) -> Callable[[int], object]:
    def look(n: int) -> object:
        return held, n

    return look


def with_default(held: Any) -> Callable[[int], object]:
    def look(n: int, used: Any = held) -> object:
        return used, n

    return look


def with_global(held: Any) -> Callable[[int], object]:
    """Make a function of a module that nobody else has, as at a prompt."""
    made: dict[str, Any] = {"__name__": "nowhere", "held": held}
    exec("def look(n):\n    return [held for _ in [n]]", made)
    look: Callable[[int], object] = made["look"]
    return look


IN_THE_OBJECT = "Make it in the worker, or leave it out of the object's pickle (__getstate__)"


@pytest.mark.parametrize(
    ("fn", "path", "way_out"),
    [
        (Holder().look, "__self__.cache['lock']", IN_THE_OBJECT),
        (lock().acquire, "__self__", IN_THE_OBJECT),
        (Holder(), "cache['lock']", IN_THE_OBJECT),
        (partial(tasks.echo, [lock()]), "args[0][0]", "Pass pool.lock()"),
        (
            partial(tasks.echo, value=tasks.Locked()),
            "keywords['value'].cache['lock']",
            "Pass what the task",
        ),
        (partial(Holder().look), "func.__self__.cache['lock']", IN_THE_OBJECT),
        (closed_over(lock()), "held", "Pass pool.lock()"),
        (closed_over([iter, count_up(1)]), "held[1]", "as an argument, or make it in the"),
        (closed_over(with_global(lock())), "held.held", "as an argument, or make it in the"),
        (with_default(lock()), "__defaults__[0]", "Pass pool.lock()"),
        (with_global(lock()), "held", "Pass pool.lock()"),
    ],
    ids=[
        "method",
        "method of a lock",
        "callable object",
        "argument of a partial",
        "keyword of a partial",
        "method in a partial",
        "closure",
        "item in a closure",
        "function in a closure",
        "default",
        "global",
    ],
)
def test_what_a_function_holds_is_named_with_the_way_out(
    pool: Pool, fn: Callable[..., Any], path: str, way_out: str
) -> None:
    """To define it elsewhere would not help: what it is bound to, closes over or reads is what cannot travel."""
    error = pool.submit(fn, 1).exception(DEADLINE)
    assert isinstance(error, NotPicklable)
    assert f" at {path}: " in str(error)
    assert (error.part, error.path) == ("function", path)
    assert way_out in str(error)
    assert "module level" not in str(error)


def test_a_setup_ends_its_sentences_once() -> None:
    """What was raised may end with a full stop of its own."""
    with pytest.raises(NotPicklable, match=r"at all\. Give what can be pickled") as caught:
        Pool(1, backend="process", initializer=print, initargs=(Stops(),))
    assert caught.value.part == "initargs"


class Stops:
    """Refuses to be pickled in a whole sentence."""

    def __reduce__(self) -> str:
        raise TypeError("not at all.")


class Node:
    """Knows by what it is held, as in a tree."""

    def __init__(self, parent: object) -> None:
        self.parent = parent


def looped() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made["self"] = made
    return made


def tree() -> dict[str, Any]:
    root: dict[str, Any] = {}
    child = root["child"] = Node(root)
    root["children"] = [child, Node(child)]
    return root


@pytest.mark.parametrize("make", [looped, tree])
def test_what_leads_back_is_not_to_blame(pool: Pool, make: Callable[[], dict[str, Any]]) -> None:
    """Where things hold each other, the path to the one at fault is that without loops."""
    value = make()
    value["last"] = lock()
    error = pool.submit(tasks.echo, value).exception(DEADLINE)
    assert isinstance(error, NotPicklable)
    assert "holds a lock at ['last']: " in str(error)
    assert error.path == "['last']"


def test_a_search_among_many_that_lead_back_ends(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is tried with all that it leads to, so after some the search is given up."""
    tried: list[object] = []
    can_pickle = blaming.can_pickle

    def counting(value: object) -> bool:
        tried.append(value)
        return can_pickle(value)

    monkeypatch.setattr(blaming, "can_pickle", counting)
    root: dict[str, Any] = {}
    root["children"] = [Node(root) for _ in range(1000)]
    root["last"] = lock()
    error = pool.submit(tasks.echo, root).exception(DEADLINE)
    assert isinstance(error, NotPicklable)
    assert error.path == "['children']"
    assert len(tried) < 200


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
    assert "argument 'value' (dict): " in str(error)
    assert error.path == ""


@pytest.mark.parametrize(
    ("fn", "label"),
    [(tasks.add, "'b'"), (tasks.arguments, "1 (counted from 0)"), (max, "1 (count")],
    ids=["named", "one of any number", "no signature"],
)
def test_an_argument_has_the_name_of_its_parameter(
    pool: Pool, fn: Callable[..., Any], label: str
) -> None:
    """Where the function has no name for it, it has its place."""
    error = pool.submit(fn, 1, lock()).exception(DEADLINE)
    assert isinstance(error, NotPicklable)
    assert f"argument {label}" in str(error)


@pytest.mark.parametrize("wrapped", [False, True], ids=["itself", "in a dict"])
@pytest.mark.parametrize("make", [Pool.options, Counter, Task])
def test_a_thing_of_ours_says_alone_what_to_do(
    pool: Pool, make: Callable[..., Any], wrapped: bool
) -> None:
    """Nothing inside of it is to blame, and its own way out is the only one."""
    ours = make(pool) if make is Pool.options else make()
    error = pool.submit(tasks.echo, {"a": ours} if wrapped else ours).exception(DEADLINE)
    assert isinstance(error, NotPicklable)
    assert error.path == ("['a']" if wrapped else "")
    assert str(error).count("cannot leave") == 1
    assert "Pass what the task needs of it" not in str(error)
    assert not str(error).endswith("..")


@pytest.mark.parametrize(
    ("fn", "way_out"),
    [(count_up, "Return a list of its items."), (later, "returns asyncio.run(...)")],
    ids=["generator", "coroutine"],
)
def test_a_result_that_is_still_to_be_run_says_how(
    pool: Pool, fn: Callable[[int], object], way_out: str
) -> None:
    """A generator or a coroutine has done nothing yet; to use threads would not help."""
    error = pool.submit(fn, 1).exception(DEADLINE)
    assert isinstance(error, NotPicklable)
    assert way_out in str(error)
    assert "thread" not in str(error)


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


class Holding(Exception):
    """An error that keeps what it needed."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.cache = {"lock": lock()}


class TwoParts(Exception):
    """An error that is not made of its arguments alone."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(first + second)


class Family(ExceptionGroup[Exception]):
    """A group of a class of its own, which takes something along."""

    kept: object = None


def there_and_back(error: BaseException) -> Any:
    """Send an error as a task's."""
    return pickling.load_error(pickling.dump_error(error, "task 7 (resize)"))


@pytest.mark.parametrize(
    ("error", "path"),
    [
        (Holding("full"), "cache['lock']"),
        (ValueError("full", lock()), "args[1]"),
    ],
)
def test_an_errors_part_that_cannot_travel_is_named(error: Exception, path: str) -> None:
    """By its place in the attributes or the arguments of the error; the way out is not about something else."""
    back = there_and_back(error)
    assert isinstance(back, NotPicklable)
    assert (back.part, back.path) == ("exception", path)
    assert f"task 7 (resize) raised {type(error).__module__}.{type(error).__name__}" in str(back)
    assert f"it holds a lock at error.{path}" in str(back)
    assert "Raise an error whose arguments can be pickled" not in str(back)


def test_an_error_that_holds_itself_says_what_else_it_holds() -> None:
    """It holds itself as an attribute, in its arguments, and in something that it holds."""
    error: Any = ValueError("x")
    error.itself = error
    error.args = (error, "x")
    error.child = Node(error)
    error.last = lock()
    back = there_and_back(error)
    assert isinstance(back, NotPicklable)
    assert "it holds a lock at error.last;" in str(back)
    assert back.path == "last"


def test_an_error_whose_only_fault_is_that_it_holds_itself_is_named() -> None:
    """Nothing in it is to blame."""
    error: Any = ValueError("x")
    error.args = (error,)
    back = there_and_back(error)
    assert isinstance(back, NotPicklable)
    assert "raised builtins.ValueError" in str(back)
    assert "it holds" not in str(back)
    assert back.path == ""


@pytest.mark.parametrize("kind", [ExceptionGroup, Family])
def test_one_member_that_cannot_travel_costs_a_group_no_other(kind: Any) -> None:
    """In its place is a NotPicklable; class, message, order and notes of the group are as they were."""
    inner = ExceptionGroup[Exception]("inner", [Holding("deep"), KeyError(2)])
    group = kind("outer", [ValueError(1), Holding("full"), TwoParts(1, 2), inner])
    group.add_note("noted")
    back = there_and_back(group)
    assert (type(back), back.message, back.__notes__) == (kind, "outer", ["noted"])
    first, second, third, deep = back.exceptions
    assert repr(first) == "ValueError(1)"
    assert (type(second), second.path) == (NotPicklable, "cache['lock']")
    assert (type(third), third.args) == (TwoParts, (3,))
    assert [type(error) for error in deep.exceptions] == [NotPicklable, KeyError]


def test_a_group_whose_own_part_cannot_travel_is_a_plain_one() -> None:
    """Its members travel, and its notes; what it is itself stays behind."""
    group = Family("outer", [ValueError(1)])
    group.kept = lock()
    group.add_note("noted")
    back = there_and_back(group)
    assert (type(back), back.message, back.__notes__) == (ExceptionGroup, "outer", ["noted"])
    assert repr(back.exceptions[0]) == "ValueError(1)"
