"""Workers killed while they log: every call of the logger that returned is heard."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Generator

import pytest

from tests.support.gates import DEADLINE, Gate, say
from workpool import Counter, Pool, WorkerLost

LOGGER = "tests.last_words"


def log_for_ever(gate: str, counter: Counter, size: int, when: int) -> None:
    """Log numbers, count each that is logged, and say at the gate when there were so many."""
    logger, filling, n = logging.getLogger(LOGGER), "x" * size, 0
    while True:
        logger.info("%d %s", n, filling)
        counter.add()
        n += 1
        if n == when:
            say(gate, os.getpid())


@pytest.fixture
def told() -> Generator[list[int]]:
    """Give the numbers that are logged, as they arrive."""
    numbers: list[int] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            numbers.append(int(record.getMessage().split()[0]))

    handler, logger = Kept(), logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    yield numbers
    logger.removeHandler(handler)
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_kill_loses_no_record(told: list[int], size: int) -> None:
    """Killed at any moment: all records whose call returned, in order, and at most the one in the making."""
    with Pool(1, backend="process", logs=True) as pool, Gate() as gate:
        for when in (1, 3, 40):
            told.clear()
            counter = pool.counter()
            task = pool.submit(log_for_ever, gate.path, counter, size, when)
            os.kill(int(gate.arrival()), signal.SIGKILL)
            assert isinstance(task.exception(DEADLINE), WorkerLost)
            assert told == list(range(len(told)))
            assert when <= counter.value <= len(told) <= counter.value + 1
