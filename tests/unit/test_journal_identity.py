"""By what a journal knows a function and an item again, in the next run and in another process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.scripts import printed_with_other_hashes
from tests.support.tasks import add
from workpool.journal.digests import digest
from workpool.journal.identity import identify

PLAIN = (
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats(allow_nan=False)
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.sets(PLAIN, max_size=6)
        | st.frozensets(st.text(), max_size=6)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_equal_values_have_equal_digests(value: Any) -> None:
    """The digest is that of the value: not of which parts are one object, nor of a set's order."""
    assert digest(value, 0) == digest(rebuilt(value), 0)


MAKERS: dict[str, Callable[[Any], Any]] = {
    "str": lambda text: text[:1] + text[1:],
    "list": lambda members: [rebuilt(member) for member in members],
    "tuple": lambda members: tuple([rebuilt(member) for member in members]),
    "dict": lambda items: {rebuilt(key): rebuilt(member) for key, member in items.items()},
    "set": lambda members: {rebuilt(member) for member in list(members)[::-1]},
    "frozenset": lambda members: frozenset(rebuilt(member) for member in list(members)[::-1]),
}


def rebuilt(value: Any) -> Any:
    """Make an equal value of new parts, sets filled from the other end."""
    return MAKERS.get(value.__class__.__name__, lambda plain: plain)(value)


def test_one_object_twice_is_as_two_equal_ones() -> None:
    """What a pickle would abbreviate makes no difference."""
    word, other = (part.join(["a", "c"]) for part in ("b", "b"))
    assert word is not other
    assert digest([word, word], 0) == digest([word, other], 0)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 2), (1, 1.0), ("1", 1), ({1}, {2}), ({1}, frozenset({1})), ([1], (1,)), ({1}, [1])],
)
def test_other_values_have_other_digests(one: object, other: object) -> None:
    """What differs in value or in kind is another item."""
    assert digest(one, 0) != digest(other, 0)


@pytest.mark.parametrize(
    "wrap", [lambda path: path, lambda path: (1, {"k": {path}})], ids=["path", "inside"]
)
def test_a_path_is_its_text(wrap: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python keeps the classes of paths, and of which parts a path was made, is no part of it."""
    known = digest(wrap(Path("a/b")), 0)
    assert known == digest(wrap(Path("a", "b")), 0)
    assert known != digest(wrap(Path("a/c")), 0)
    assert known != digest(wrap("a/b"), 0)
    assert known != digest(wrap(PurePosixPath("a/b")), 0)
    home = "pathlib._local" if Path.__module__ == "pathlib" else "pathlib"
    monkeypatch.setattr(type(Path()), "__module__", home)
    assert known == digest(wrap(Path("a/b")), 0)


def test_a_path_is_the_same_on_each_python() -> None:
    """The digest of a path is a fixed one."""
    assert digest(PurePosixPath("a/b"), 0).hex() == "9016a94340966076807a8ffc6a7d6651"


def test_a_value_that_holds_itself_has_a_digest() -> None:
    """A cycle cannot be written without a memo: it is written with one."""
    value: list[Any] = [1]
    value.append(value)
    assert digest(value, 0) == digest(value, 0)


SCRIPT = """
from functools import partial
from workpool.journal.digests import digest
from workpool.journal.identity import identify
def outer(words, limit):
    def keep(word, extra={"x", "y", "z"}):
        if word in {"alpha", "beta", "gamma", "delta"}:
            return [w for w in words if w != word][:limit]
        return extra
    return keep
item = {"k": {"a", "b", "c", "d"}, "f": frozenset(range(40)), "t": ({"x"}, "y")}
print(digest(item, 0).hex(), identify(outer({"p", "q", "r"}, 3), star=False, version=None).code,
      identify(partial(outer, b=2, a=1), star=False, version=None).code)
"""


def test_digests_do_not_follow_the_hash_seed() -> None:
    """Sets in items, in constants, in defaults and in closures are the same in another process."""
    assert len(printed_with_other_hashes(SCRIPT)) == 1


KINDS = """
from functools import partial
from workpool.journal import digests
from workpool.journal.identity import identify
class Words(set):
    pass
class Fixed(frozenset):
    __slots__ = ("note",)
def fn(held, n):
    return n
words = Words({"a", "b", "c", "d", Fixed({"p", "q", "r", frozenset({"x", "y", "z"})})})
words.note, words.me = {"k", "l", "m"}, None
print(digests.digest([words, {"w": words}], 0).hex(), digests._by_parts([words, [words]]).hex())
words.me = words
print(identify(partial(fn, {"k": words}), star=False, version=None).code)
"""


def test_sets_of_classes_of_their_own_do_not_follow_the_hash_seed() -> None:
    """A class that is a set is pickled as its members, in whatever order they are."""
    assert len(printed_with_other_hashes(KINDS)) == 1


class Words(set[Any]):
    """A set with something beside its members."""

    note = 0


class Sorted(Words):
    """A set that says by itself how it is pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Sorted, (sorted(self, reverse=True),)


def noted(note: int) -> Words:
    words = Words({1, 2})
    words.note = note
    return words


def as_item(thing: object) -> object:
    return digest(thing, 0)


def as_held(thing: Any) -> object:
    return code(partial(add, thing))


@pytest.mark.parametrize("known", [as_item, as_held])
def test_what_a_set_of_its_own_class_holds_counts(known: Callable[[object], object]) -> None:
    """Members, class and attributes: none of them is left out."""
    things = [Words({1, 2}), Words({1, 3}), {1, 2}, Sorted({1, 2}), noted(3), noted(4)]
    assert len({known(thing) for thing in things}) == len(things)
    assert known(Words({1, 2})) == known(Words({2, 1}))


# ------------------------------------------------------------------------ functions


def made(source: str, **names: Any) -> Callable[..., Any]:
    """Make the function ``f`` of some source text."""
    space: dict[str, Any] = dict(names)
    exec(source, space)
    fn: Callable[..., Any] = space["f"]
    return fn


def code(fn: Callable[..., Any]) -> str:
    return identify(fn, star=False, version=None).code


@pytest.mark.parametrize(
    "other",
    [
        "def f(x):\n    return x + 2",
        "def f(x):\n    return x - 1",
        "def f(y):\n    return y + 1",
        "def f(x, z=3):\n    return x + 1",
        "def f(x):\n    return g(x) + 1",
        "def f(x):\n    return (lambda q: q + 1)(x)",
    ],
)
def test_another_code_is_seen(other: str) -> None:
    """Instructions, constants, names and defaults belong to a function."""
    assert code(made("def f(x):\n    return x + 1")) != code(made(other))


PLAIN_CLASS = "def f(x):\n    class C:\n        a = 1\n    return C.a"
WITH_INNER = "def f(x):\n    def g(y):\n        {}\n        return y, None\n    return g(x)"
AS_GOOD = {
    "moved": (
        "def f(x):\n    return x + 1",
        "\n\n# moved\ndef f(x):\n    # why\n\n    return x + 1",
    ),
    "other docstring": ("def f(x):\n    'One'\n    return 1", "def f(x):\n    'Two'\n    return 1"),
    "docstring": ("def f(x):\n    return x, 1", "def f(x):\n    'One'\n    return x, 1"),
    "docstring before None": ("def f(x):\n    x(1)", "def f(x):\n    'One'\n    x(1)"),
    "a constant": ("def f(x):\n    'a'\n    return 'a'", "def f(x):\n    'b'\n    return 'a'"),
    "inner function": (WITH_INNER.format("# none"), WITH_INNER.format("'One.'")),
    "class moved": (PLAIN_CLASS, f"# moved\n{PLAIN_CLASS}"),
    "class moved far": ("\n" * 240 + PLAIN_CLASS, "\n" * 270 + PLAIN_CLASS),
}


@pytest.mark.parametrize(("one", "other"), AS_GOOD.values(), ids=AS_GOOD)
def test_where_it_stands_and_what_is_told_of_it_does_not_matter(one: str, other: str) -> None:
    """Moved down, commented, with or without a docstring, it is the same function; so are those in it."""
    assert code(made(one)) == code(made(other))


TRY = "def f(x):\n    try:\n        y = g(x)\n"
TWO_LAMBDAS = "def f(x):\n    return [(lambda: {}), (lambda: {})]"
OTHERS = {
    "else": (
        f"{TRY}        z = h(y)\n    except ValueError:\n        z = 0\n    return z",
        f"{TRY}    except ValueError:\n        z = 0\n    else:\n        z = h(y)\n    return z",
    ),
    "return": (
        f"{TRY}        return h(y)\n    except ValueError:\n        return 0",
        f"{TRY}    except ValueError:\n        return 0\n    return h(y)",
    ),
    "docstring's twin": (
        "def f(x):\n    'a'\n    return 'a'",
        "def f(x):\n    'a'\n    return 'b'",
    ),
    "order": ("def f(x):\n    return x * 1.5 - 2.5", "def f(x):\n    return x * 2.5 - 1.5"),
    "keywords": ("def f(x):\n    g(1, a=2)", "def f(x):\n    g(1, b=2)"),
    "nesting": (TWO_LAMBDAS.format(1.5, 2.5), TWO_LAMBDAS.format(2.5, 1.5)),
    "name": (
        "def f(x):\n    g = lambda: 1\n    return g",
        "def f(x):\n    def g(): return 1\n    return g",
    ),
    "line's twin": (PLAIN_CLASS.replace("1", "2"), PLAIN_CLASS.replace("1", "3")),
    "its own line": (
        f"{PLAIN_CLASS}\n".replace("a = 1", "__firstlineno__ = 7"),
        f"{PLAIN_CLASS}\n".replace("a = 1", "__firstlineno__ = 8"),
    ),
}


@pytest.mark.parametrize(("one", "other"), OTHERS.values(), ids=OTHERS)
def test_what_behaves_otherwise_is_another_function(one: str, other: str) -> None:
    """What a try covers, which constant is where, what a function in it is called: each makes another one."""
    assert code(made(one)) != code(made(other))


def test_inner_functions_and_closures_belong_to_it() -> None:
    """What it closes over, functions among it, is looked into; what cannot be pickled goes by its type."""
    source = "def make(a):\n    def f(x):\n        return a\n    return f\nf = make({})"
    assert code(made(source.format(1))) == code(made(source.format(1)))
    assert code(made(source.format(1))) != code(made(source.format(2)))
    assert code(made(source.format("lambda: 1"))) != code(made(source.format("lambda: 2")))
    lock = threading.Lock()
    assert code(made(source.format("lock"), lock=lock)) == code(
        made(source.format("lock"), lock=threading.Lock())
    )


def test_partials_methods_and_objects_are_known_by_what_they_hold() -> None:
    """Settings that are bound to a function are part of it."""
    assert code(partial(add, 1)) != code(partial(add, 2))
    assert code(partial(add, b=1)) != code(partial(Scaled, factor=1))
    assert code("a".join) != code("b".join)
    assert code(Scaled(2).scale) != code(Scaled(3).scale)
    assert code(Scaled(2)) == code(Scaled(2))
    assert code(Scaled(2)) != code(Scaled(3))
    assert (identify(partial(add, 1), star=False, version=None).name) == "add"


class Scaled:
    """Settings of a call."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def scale(self, n: int) -> int:
        return self.factor * n

    def __call__(self, n: int) -> int:
        return self.scale(n)


def test_a_function_that_closes_over_itself_is_known() -> None:
    """Recursion by name in a closure has an end."""
    source = (
        "def make():\n    def f(n):\n        return f(n - 1) if n else 0\n    return f\nf = make()"
    )
    assert code(made(source)) == code(made(source))
