"""Errors of a worker's setup that cannot be unpickled in the program: they are told, and break nothing else."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from tests.support import awkward, tasks
from tests.support.gates import DEADLINE
from workpool import InitializerFailed, NotPicklable, Pool


def test_of_an_initializer() -> None:
    """All that waits hears what it was, and where."""
    with Pool(
        1,
        backend="process",
        initializer=awkward.raise_it,
        initargs=(awkward.comes_apart, (), 1, 1),
    ) as pool:
        error = pool.submit(tasks.double, 1).exception(DEADLINE)
    assert isinstance(error, InitializerFailed)
    assert "tests.support.awkward.ComesApart" in str(error)
    assert isinstance(error.__cause__, NotPicklable)
    assert "in raise_it" in str(error.__cause__.__cause__)


@contextmanager
def context_with_a_bad_end() -> Generator[None]:
    yield
    raise awkward.comes_apart()


def test_of_the_end_of_a_context(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next worker takes its place."""
    with (
        caplog.at_level(logging.ERROR, "workpool"),
        Pool(
            1,
            backend="process",
            worker_context=context_with_a_bad_end,
            max_tasks_per_worker=1,
        ) as pool,
    ):
        found = [pool.submit(tasks.double, n).result(DEADLINE) for n in range(3)]
    assert found == [0, 2, 4]
    ends = [record for record in caplog.records if "failed to leave worker 0" in record.message]
    assert len(ends) == 3
    assert all("ComesApart" in str(record.exc_info) for record in ends)
