"""Errors that are odd objects: they reach who asks, and harm nobody else."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

import pytest

from tests.contract.conftest import MakePool
from tests.support import awkward, tasks
from tests.support.gates import DEADLINE
from workpool import InitializerFailed, Pool

# Not HidesTrace: pytest stumbles over one that a test raises.
KINDS = [awkward.Frozen, awkward.SetsNothing]
odd = pytest.mark.parametrize("make", KINDS)


def raised_by(call: Callable[..., object], *args: object) -> BaseException | None:
    """Give what a call raises."""
    try:
        call(*args)
    except BaseException as error:
        return error
    return None


@odd
def test_of_a_task(pool: Pool, make: type[BaseException]) -> None:
    """It is the error of its task, and the worker goes on."""
    task = pool.submit(awkward.raise_it, make, (3,), 1, 1)
    error = task.exception(DEADLINE)
    assert type(error) is make
    assert BaseException.args.__get__(error) == (3,)  # type: ignore[attr-defined]  # it has
    assert type(raised_by(task.result, DEADLINE)) is make
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    assert pool.stats().lost == 0


@odd
@pytest.mark.parametrize("size", [5, 2000])
def test_of_an_item(pool: Pool, make: type[BaseException], size: int) -> None:
    """It is the error of its item, one by one or in the middle of tiny calls."""
    fn = partial(awkward.raise_it, make, (3,), size - 2)
    found = list(pool.map(fn, range(size), return_exceptions=True, timeout=DEADLINE))
    assert type(found.pop(size - 2)) is make
    assert found == [n for n in range(size) if n != size - 2]
    assert pool.stats().lost == 0


@odd
def test_of_an_input(pool: Pool, make: type[BaseException]) -> None:
    """It is raised behind the results of what came before it."""

    def items() -> Generator[int]:
        yield from range(3)
        raise make(3)

    results = pool.map(tasks.double, items(), buffersize=2)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    assert type(raised_by(next, results)) is make


@pytest.mark.parametrize("chunksize", [None, 1], ids=["chunks", "single"])
def test_that_cuts_an_input_short(pool: Pool, chunksize: int | None) -> None:
    """Raised to a join, which pulled the input, it is told to the consumer behind the results, and not as the end."""

    def items() -> Generator[int]:
        yield from range(10)
        raise awkward.Unspeakable

    results = pool.map(tasks.double, items(), chunksize=chunksize, buffersize=2)
    assert type(raised_by(pool.join, DEADLINE)) is awkward.Unspeakable
    assert [next(results) for _ in range(10)] == list(range(0, 20, 2))
    with pytest.raises(CancelledError, match="cut short after 10 items, by Unspeakable"):
        next(results)


def test_that_would_be_taken_for_an_end(pool: Pool) -> None:
    """What is a StopIteration itself is told by another error, whatever it says of itself."""
    results = pool.map(partial(awkward.raise_it, awkward.UnspeakableEnd, (), 0), range(1))
    with pytest.raises(RuntimeError, match="ended by UnspeakableEnd"):
        next(results)


@odd
def test_in_a_group(pool: Pool, make: type[BaseException]) -> None:
    """The group tells of it."""

    def fail() -> None:
        with pool.group() as group:
            group.submit(awkward.raise_it, make, (3,), 1, 1)

    told: Any = raised_by(fail)
    assert list(map(type, told.exceptions)) == [make]


@odd
def test_of_an_initializer(make_pool: MakePool, make: type[BaseException]) -> None:
    """It is the cause of what all are told, more than once."""
    pool = make_pool(1, initializer=awkward.raise_it, initargs=(make, (3,), 1, 1))
    for _ in range(2):
        failed = raised_by(lambda: pool.submit(tasks.double, 1).result(DEADLINE))
        assert isinstance(failed, InitializerFailed)
        assert isinstance(failed.__cause__, make)
