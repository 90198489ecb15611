"""Counter: adds are counted, compared and bounded the same way on every scope."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from workpool.shared import Counter, Scope

LARGEST = 2**63 - 1


pytestmark = pytest.mark.usefixtures("arena")


def test_add_returns_the_new_value(scope: Scope) -> None:
    """add() returns the sum, and value tells it."""
    counter = Counter(5, scope=scope)
    assert [counter.add(), counter.add(10), counter.add(-20), counter.add(0)] == [6, 16, -4, -4]
    assert counter.value == -4


def test_no_two_adds_return_the_same(scope: Scope) -> None:
    """Adds of 1 by several threads return each number once."""
    counter = Counter(scope=scope)
    seen: list[int] = []

    def count() -> None:
        mine = [counter.add() for _ in range(500)]
        assert mine == sorted(mine)
        seen.extend(mine)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(seen) == list(range(1, 2001))


def test_compare_and_set_sets_only_what_was_expected(scope: Scope) -> None:
    """compare_and_set() tells whether the number was as expected, and sets it only then."""
    counter = Counter(1, scope=scope)
    assert not counter.compare_and_set(2, 9)
    assert counter.value == 1
    assert counter.compare_and_set(1, 9)
    assert counter.value == 9


@pytest.mark.parametrize("edge", [LARGEST, -LARGEST - 1])
def test_it_counts_to_the_edge_of_64_bits_and_no_further(scope: Scope, edge: int) -> None:
    """The extremes are reached; a step beyond is an OverflowError that changes nothing."""
    step = 1 if edge > 0 else -1
    counter = Counter(edge - step, scope=scope)
    assert counter.add(step) == edge
    with pytest.raises(OverflowError, match=f"n={step} takes the counter beyond 64 bits"):
        counter.add(step)
    with pytest.raises(OverflowError, match="new="):
        counter.compare_and_set(edge, edge + step)
    assert counter.value == edge
    with pytest.raises(OverflowError, match="initial="):
        Counter(edge + step, scope=scope)


def test_what_is_no_integer_is_refused(scope: Scope) -> None:
    """A float or a text is a TypeError that names it, and the counter goes on."""
    counter = Counter(scope=scope)
    for wrong in (1.0, "1", None):
        with pytest.raises(TypeError, match="n must be an integer"):
            counter.add(wrong)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(TypeError, match="initial must be an integer"):
            Counter(wrong, scope=scope)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="new must be an integer"):
        counter.compare_and_set(0, 0.5)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="expected must be an integer, not None"):
        counter.compare_and_set(None, 1)  # type: ignore[arg-type]  # on purpose
    assert counter.add() == 1


def test_its_repr_tells_value_and_scope(scope: Scope) -> None:
    """A reader sees what it counts and for whom."""
    assert repr(Counter(3, scope=scope)) == f"Counter(3, scope={scope!r})"


class Eight:
    """An integer that counts with eight bits, as one of numpy does."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value

    def __radd__(self, other: int) -> Any:
        return Eight((other + self.value) % 256)

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return self.value


def test_an_integer_of_another_kind_counts_as_what_it_is(scope: Scope) -> None:
    """One with its own arithmetic, as those of numpy, wraps nothing around."""
    counter = Counter(scope=scope)
    n: Any
    for n in (Eight(200), Eight(100), True):
        total = counter.add(n)
        assert type(total) is int
    assert counter.value == 301
    expected, new = Eight(45), Eight(7)
    assert not counter.compare_and_set(expected, new)  # type: ignore[arg-type]  # on purpose
    expected.value = 301
    assert not counter.compare_and_set(0, new)  # type: ignore[arg-type]  # on purpose
    assert counter.compare_and_set(expected, new)  # type: ignore[arg-type]  # on purpose
    assert counter.value == 7
    with pytest.raises(OverflowError, match="n="):
        counter.add(Eight(LARGEST))  # type: ignore[arg-type]  # on purpose
    assert counter.value == 7


def test_integers_of_numpy_are_counted(scope: Scope) -> None:
    """As items of an array are: each as the number that it is."""
    numpy: Any = pytest.importorskip("numpy")
    counter = Counter(numpy.uint8(1), scope=scope)
    assert [counter.add(n) for n in numpy.array([200, 100, 50], numpy.uint8)] == [201, 301, 351]
    assert counter.compare_and_set(numpy.int64(351), numpy.int16(-1))
    assert counter.value == -1
