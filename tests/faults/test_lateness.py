"""How late a time limit is: the caller knows within 20 ms, whatever the task does."""

from __future__ import annotations

import statistics
import threading
import time

import pytest

from tests.faults.conftest import MakePool
from tests.support import tasks
from tests.support.fatal import hang
from tests.support.gates import DEADLINE, Gate, in_background, stop
from workpool import Pool, TimeLimitExceeded

LIMIT = 0.3  # seconds
LATEST = 0.02  # seconds; what the machine itself is late by comes on top


def late_by(limit: float) -> float:
    """Have a thread wait for so long and wake another, as limits are kept; tell how late this machine is at it now."""
    over = threading.Event()

    def keep() -> None:
        threading.Event().wait(limit)
        over.set()

    began = time.monotonic()
    in_background(keep)
    assert over.wait(DEADLINE)
    return time.monotonic() - began - limit


def lateness(pool: Pool, gate: Gate, how: str) -> float:
    """Have a task run past its limit, and tell how late its caller knew, beyond what any two threads are late by."""
    pool.submit(tasks.double, 1).result(DEADLINE)  # there is a worker
    control = in_background(late_by, LIMIT)
    view = pool.options(time_limit=LIMIT)
    began = time.monotonic()
    task = view.submit(stop, gate.path) if how == "gate" else view.submit(hang, gate.path, how)
    error = task.exception(DEADLINE)
    late = time.monotonic() - began - LIMIT
    assert isinstance(error, TimeLimitExceeded)
    assert late >= 0.0
    return late - max(0.0, control.result())


@pytest.mark.parametrize(
    ("backend", "how"),
    [
        ("process", "C code"),
        ("process", "C code, deaf"),
        ("process", "loop"),
        ("process", "gate"),
        ("thread", "gate"),
    ],
)
def test_the_caller_knows_of_a_limit_in_time(
    make_pool: MakePool, gate: Gate, backend: str, how: str
) -> None:
    """By 20 ms at most, in the median of seven: also where C code holds the GIL, or no signal is heard.

    Who misses that by more than the machine's own doings misses it each time.
    """
    pool = make_pool(1, backend=backend)
    medians = (statistics.median(lateness(pool, gate, how) for _ in range(7)) for _ in range(3))
    assert any(late <= LATEST for late in medians)
