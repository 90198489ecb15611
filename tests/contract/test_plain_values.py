"""What has a shorter way to a worker and back: numbers and truth as results, and calls without arguments."""

from __future__ import annotations

from math import copysign, inf, isnan, nan
from pickle import dumps

from tests.support import noting, tasks
from tests.support.gates import DEADLINE
from workpool import Pool


def test_plain_values_come_back_as_they_are(pool: Pool) -> None:
    """Numbers of any size, truth and nothing: the same value of the same type, one by one and many at once."""
    large = [2**63, -(2**64), 1 << 30_000, 1 << 600_000]
    values: list[float | None] = [None, True, False, 0, -1, *large, 0.1, inf]
    kinds = [type(value) for value in values]
    alone = [pool.submit(tasks.echo, value).result(DEADLINE) for value in values]
    submitted = [pool.submit(tasks.echo, value) for value in 5 * values]
    together = [task.result(DEADLINE) for task in submitted]
    assert (alone, together) == (values, 5 * values)
    assert [type(value) for value in alone + together] == 6 * kinds
    assert isnan(pool.submit(tasks.echo, nan).result(DEADLINE))
    assert copysign(1, pool.submit(tasks.echo, -0.0).result(DEADLINE)) == -1


def test_calls_without_arguments_share_nothing(pool: Pool) -> None:
    """Each call has keyword arguments of its own to change, and so has an item that looks like them."""
    assert [pool.submit(noting.note_keyword).result(DEADLINE) for _ in range(9)] == [1] * 9
    pairs: list[tuple[tuple[()], dict[str, int]]] = [((), {}) for _ in range(9)]
    assert list(pool.map(noting.note_in_second, pairs, chunksize=1)) == [1] * 9
    looks_like_one = dumps(((), {}), 5)
    assert list(pool.map(tasks.echo, [looks_like_one] * 9)) == [looks_like_one] * 9
