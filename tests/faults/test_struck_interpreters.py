"""A worker that is an interpreter is given up in the middle of a call to a pool in it, which stays whole."""

from __future__ import annotations

import pytest

from tests.support import torn
from tests.support.gates import DEADLINE, Gate, in_background
from workpool import Pool
from workpool._compat import has_interpreters

pytestmark = [
    pytest.mark.skipif(not has_interpreters(), reason="this Python has no concurrent.interpreters"),
    # An interpreter is begun for each of hundreds of moments.
    pytest.mark.timeout(240),
]


@pytest.mark.parametrize("call", torn.CALLS)
def test_a_call_may_be_torn_anywhere(call: str, made: list[Pool]) -> None:
    """Wherever in submit, cancel or map of a pool of its own: all that was accepted there still ends."""
    pool = Pool(1, backend="interpreter")
    made.append(pool)
    number = 0
    word = "there"
    while word == "there":
        with Gate() as moment, Gate() as others, Gate() as report:
            task = pool.submit(torn.torn_at, number, call, moment.path, others.path, report.path)
            word = moment.arrival()
            if word == "there":
                assert in_background(task.cancel, kill=True).result(), number
                moment.open()
            others.open()
            assert report.arrival() == "whole", number
            if word == "through":
                task.result(DEADLINE)
        number += 1
    assert number > 10
