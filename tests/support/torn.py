"""Calls to a pool that are torn in a worker that is an interpreter, and what became of that pool."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from tests.support.gates import DEADLINE, say, stop
from tests.support.interrupts import at_moment
from tests.support.queues import until
from tests.support.tasks import double, hold
from workpool import Pool, TimeLimitExceeded
from workpool.target import mine

__all__ = ["CALLS", "cancel_queued", "submit_some", "torn_at"]

SOON = 10.0  # seconds


def submit_some(pool: Pool, _: str) -> None:
    for n in range(3):
        pool.submit(double, n)


def cancel_queued(pool: Pool, gate: str) -> None:
    pool.submit(hold, gate, 1)
    pool.submit(double, 1).cancel()


CALLS: dict[str, Callable[[Pool, str], object]] = {
    "submit": submit_some,
    "cancel": cancel_queued,
    "map_lazy": lambda pool, _: list(pool.map(double, iter([1]), buffersize=1)),
}


def torn_at(number: int, name: str, moment: str, others: str, report: str) -> None:
    """Make a call to a pool of this interpreter, and be given up at that moment of it.

    Says "there" or "through" at one gate, and what became of the pool at another. The second of three holds what the
    call itself needs to be held.
    """
    pool = Pool(1)
    assert pool.submit(double, 1).result(DEADLINE) == 2
    over = threading.Event()

    # In a thread of its own: this one may be struck again, whatever it does.
    def judge() -> None:
        over.wait(3 * DEADLINE)
        try:
            assert pool.submit(double, 1).result(SOON) == 2
            pool.join(SOON)
            assert pool.unfinished == 0
            say(report, "whole")
        except BaseException as error:
            say(report, repr(error))

    def wait_for_it(_: Any) -> None:
        sys.setprofile(None)  # whoever looks on is not struck
        target: Any = mine.target
        stop(moment, "there")
        if not target._lock._is_owned():  # else it comes when this thread lets go of that
            until(lambda: target._due)  # noted for the end of a step, or else raised right here

    judging = threading.Thread(target=judge)
    judging.start()
    try:
        struck = at_moment(number, lambda: CALLS[name](pool, others), wait_for_it, theirs=False)
        if not struck:
            say(moment, "through")
    finally:
        over.set()
        while judging.is_alive():  # the interpreter ends with this thread, and its pools with it
            try:
                judging.join()
            except TimeLimitExceeded:
                continue
