"""rate_limit(): the calls of all tasks of a pool count together."""

from __future__ import annotations

from tests.support.gates import DEADLINE
from workpool import Pool, RateLimiter


def try_to(limiter: RateLimiter) -> bool:
    return limiter.acquire(blocking=False)


def wait_to(limiter: RateLimiter) -> bool:
    with limiter as allowed:
        return allowed


def test_tasks_share_a_rate_limit(pool: Pool) -> None:
    """Of all tasks together, as many are let through as the limit says."""
    limiter = pool.rate_limit(3, 3600.0)
    assert (
        sum(task.result(DEADLINE) for task in [pool.submit(try_to, limiter) for _ in range(10)])
        == 3
    )
    assert not limiter.acquire(blocking=False)


def test_tasks_wait_for_a_rate_limit(pool: Pool) -> None:
    """All get through in the end."""
    limiter = pool.rate_limit(2, 0.02)
    assert list(pool.map(wait_to, [limiter] * 7)) == [True] * 7
