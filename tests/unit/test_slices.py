"""Tiny calls that run many at a time in a worker: what comes out is what came out one by one, whatever its kind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from workpool import NotPicklable, Pool

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
