"""Tiny calls that run many at a time in a worker: what comes out is what came out one by one, whatever its kind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from workpool import NotPicklable, Pool, WorkerLost

COUNT = 20_000
ODD = COUNT // 2  # far behind the moment at which they have proved tiny


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool of one process."""
    with Pool(1, backend="process") as made:
        yield made


def as_int(n: int) -> object:
    return n


def as_float(n: int) -> object:
    return n / 2


def as_text(n: int) -> object:
    return str(n)


def mostly_int(n: int) -> object:
    return n if n != ODD else n / 2


def then_lists(n: int) -> object:
    return n if n < ODD else [n]


def then_locks(n: int) -> object:
    return n if n != ODD else threading.Lock()


def then_large(n: int) -> object:
    return n if n != ODD else 1 << 80


@pytest.mark.parametrize("fn", [as_int, as_float, as_text, mostly_int, then_lists, then_large])
def test_results_of_any_kind_come_back_in_order(pool: Pool, fn: Callable[[int], object]) -> None:
    """Numbers travel as numbers, others as pickles, and a change between them costs no result."""
    assert list(pool.map(fn, range(COUNT))) == [fn(n) for n in range(COUNT)]


def test_a_result_that_cannot_travel_costs_no_other(pool: Pool) -> None:
    """Among thousands of tiny calls the one whose result has no pickle fails, and is named."""
    outcomes: list[Any] = list(pool.map(then_locks, range(COUNT), return_exceptions=True))
    error = outcomes.pop(ODD)
    assert isinstance(error, NotPicklable)
    assert (error.part, f"item {ODD}" in str(error)) == ("result", True)
    assert outcomes == [n for n in range(COUNT) if n != ODD]


class Reluctant:
    """No number, and loud when taken for one."""

    def __float__(self) -> float:
        raise RuntimeError("not a number")

    def __index__(self) -> int:
        raise RuntimeError("not a number")


def int_or_reluctant(n: int) -> object:
    return n if n != ODD else Reluctant()


def float_or_reluctant(n: int) -> object:
    return float(n) if n != ODD else Reluctant()


@pytest.mark.parametrize("fn", [int_or_reluctant, float_or_reluctant])
def test_no_result_is_asked_to_be_a_number(pool: Pool, fn: Callable[[int], object]) -> None:
    """An object among thousands of numbers comes back as it is: nothing of it is called on the way."""
    outcomes: list[Any] = list(pool.map(fn, range(COUNT)))
    assert type(outcomes.pop(ODD)) is Reluctant
    assert outcomes == [n for n in range(COUNT) if n != ODD]


latest: list[int] = []


def each_hundredth(n: int) -> list[int] | None:
    """Give the latest number in a list, always the same one, or nothing."""
    latest[:] = [n]
    return latest if n % 100 == 99 else None


def test_a_result_is_as_it_was_when_its_call_was_over(pool: Pool) -> None:
    """What later calls do to a list that a call gave back is not seen in its result."""
    given = [one for one in pool.map(each_hundredth, range(COUNT)) if one is not None]
    assert given == [[n] for n in range(99, COUNT, 100)]


def killed_behind(kind: type, odd: object, n: int) -> object:
    """Give an odd result, and have the worker killed two calls later."""
    if n == ODD + 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return odd if n == ODD else kind(n)


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        (int, True),
        (float, 2**53 + 1),
        (float, Decimal("0.1")),
        (str, bytearray(b"odd")),
        (str, [1]),
    ],
    ids=["bool", "int", "Decimal", "bytearray", "list"],
)
def test_a_kill_changes_no_result(pool: Pool, kind: type, odd: object) -> None:
    """What was finished before a kill has its value and its type, also where most others are of another type."""
    killed = partial(killed_behind, kind, odd)
    outcomes: list[Any] = list(pool.map(killed, range(COUNT), return_exceptions=True))
    assert isinstance(outcomes[ODD + 2], WorkerLost)
    assert (type(outcomes[ODD]), outcomes[ODD]) == (type(odd), odd)
    assert outcomes[ODD + 1] == kind(ODD + 1)


class Needs:
    """A function that needs a file wherever it arrives."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __setstate__(self, state: dict[str, Any]) -> None:
        state["path"].read_bytes()
        self.__dict__.update(state)

    def __call__(self, n: int) -> int:
        return n


def test_a_function_that_arrives_broken_costs_its_items(pool: Pool, tmp_path: Path) -> None:
    """Also where it has proved tiny before it did: they fail with what it raised, and the worker lives on."""
    needed = tmp_path / "needed"
    needed.touch()
    fn = Needs(needed)
    assert list(pool.map(fn, range(1_000), chunksize=100)) == list(range(1_000))
    needed.unlink()
    errors = list(pool.map(fn, range(50), chunksize=10, return_exceptions=True))
    assert {type(error) for error in errors} == {NotPicklable}
    assert pool.stats().lost == 0


def add(a: int, b: int) -> int:
    return a + b


def test_a_call_that_never_came_to_its_function_is_one_failure(pool: Pool) -> None:
    """With an argument too few there is no frame of the function; its item fails, and every other has its result."""
    pairs: list[Any] = [(n, 1) for n in range(COUNT)]
    pairs[ODD] = (ODD,)
    outcomes: list[Any] = list(pool.starmap(add, pairs, return_exceptions=True))
    assert isinstance(outcomes.pop(ODD), TypeError)
    assert outcomes == [n + 1 for n in range(COUNT) if n != ODD]


class Stopped(StopIteration):
    """An error that a loop in C takes for the end."""


def stop_at_odd(n: int) -> int:
    if n == ODD:
        raise Stopped("at", n)
    return n


@pytest.mark.parametrize("star", [False, True], ids=["map", "starmap"])
def test_a_call_that_raises_stop_iteration_is_one_failure(pool: Pool, star: bool) -> None:
    """It does not pass for the end of the items, and is told with its class, its arguments and its place."""
    quick = pool.options(retries=1, retry_on=Stopped)
    pairs = zip(range(COUNT))
    outcomes: list[Any] = list(
        quick.starmap(stop_at_odd, pairs, return_exceptions=True)
        if star
        else quick.map(stop_at_odd, range(COUNT), return_exceptions=True)
    )
    error = outcomes.pop(ODD)
    assert type(error) is Stopped
    assert error.args == ("at", ODD)
    told = str(error.__cause__)
    assert "in stop_at_odd" in told
    assert "workpool" not in told
    assert outcomes == [n for n in range(COUNT) if n != ODD]
    assert pool.stats().retried == 1
