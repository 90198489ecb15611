"""Random tasks of pools of one worker that wait for each other, in all the ways there are: they end, each time."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Generator
from concurrent.futures import Executor, as_completed, wait
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

import pytest

from tests.support.gates import DEADLINE, in_background
from tests.support.queues import until
from workpool import Pool, TimeLimitExceeded

DEPTH = 3


class Round:
    """Some pools, and the calls that a task may make in the middle of itself."""

    def __init__(self, seed: int, pools: list[Pool], made: list[Pool]) -> None:
        self.chance = random.Random(seed)  # shared by threads: each draw is one step
        self.pools = pools
        self.made = made
        self.ways: list[Callable[[Pool, int], object]] = [
            lambda pool, depth: pool.submit(self.work, depth).result(),
            lambda pool, depth: list(pool.map(self.work, [depth] * 2, chunksize=1)),
            lambda pool, depth: list(pool.map(self.work, (depth for _ in range(2)))),
            lambda pool, depth: wait([pool.submit(self.work, depth), self.other(depth)]),
            lambda pool, depth: list(
                as_completed([pool.submit(self.work, depth), self.other(depth)])
            ),
            self._group,
            self._await,
            self._in_executor,
            self._poll,
            self._limited,
            self._nested,
            self._join,
        ]

    def pool(self) -> Pool:
        """Draw a pool."""
        return self.chance.choice(self.pools)

    def other(self, depth: int) -> Any:
        """Submit to some pool."""
        return self.pool().submit(self.work, depth)

    def work(self, depth: int) -> int:
        """Do something that waits for one of the pools, until it is deep enough."""
        if depth < DEPTH:
            self.chance.choice(self.ways)(self.pool(), depth + 1)
        return depth

    def _group(self, pool: Pool, depth: int) -> None:
        with pool.group() as group:
            group.submit(self.work, depth)
            group.submit(self.work, depth)

    def _await(self, pool: Pool, depth: int) -> None:
        async def main() -> None:
            await asyncio.gather(pool.run(self.work, depth), self.pool().run(self.work, depth))

        self._in_a_loop(main)

    def _in_executor(self, pool: Pool, depth: int) -> None:
        async def main() -> None:
            executor: Executor = pool
            await asyncio.get_running_loop().run_in_executor(executor, self.work, depth)

        self._in_a_loop(main)

    @staticmethod
    def _in_a_loop(main: Callable[[], Any]) -> None:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            return  # inline, inside of another
        asyncio.run(main())

    def _poll(self, pool: Pool, depth: int) -> None:
        task = pool.submit(self.work, depth)
        while True:
            with suppress(TimeoutError):
                task.result(timeout=0.001)
                return

    def _limited(self, pool: Pool, depth: int) -> None:
        if pool.backend == "inline":
            return
        task = pool.options(time_limit=DEADLINE).submit(self.work, depth)
        with suppress(TimeLimitExceeded):
            task.result()

    def _nested(self, _: Pool, depth: int) -> None:
        with Pool(1, queue_size=self.chance.choice([0, 1])) as inner:
            self.made.append(inner)
            for _each in range(3):
                inner.submit(self.work, depth)

    def _join(self, _: Pool, depth: int) -> None:
        # Of a pool of its own: two tasks that join each other's pools do wait for each other.
        inner = Pool(1)
        self.made.append(inner)
        task = inner.submit(self.work, depth)
        inner.join()
        task.result()
        inner.shutdown()


@pytest.fixture
def quick_switches() -> Generator[None]:
    """Have threads take turns often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def _lends_nothing(pool: Pool) -> bool:
    return not pool._scheduler._extra


def run(seed: int, backends: list[Any], made: list[Pool]) -> None:
    """Run one round: all of it ends, and nothing is lent afterwards."""
    pools = [Pool(1, backend=backend, name=f"{seed}-{n}") for n, backend in enumerate(backends)]
    made += pools
    around = Round(seed, pools, made)
    submitted = in_background(lambda: [around.other(0) for _ in range(6)])
    for task in submitted.result():
        assert task.result(DEADLINE) == 0, f"seed {seed}"
    for pool in pools:
        in_background(pool.join, DEADLINE).result()
        until(partial(_lends_nothing, pool))
        assert pool.unfinished == 0
        in_background(pool.shutdown).result()
    made.clear()


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(1.0, id="some"),
        pytest.param(40.0, id="many", marks=pytest.mark.stress),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_tasks_that_wait_for_each_others_pools_end(count: int, seconds: float) -> None:
    """Whatever waits for whatever, as long as no task waits for itself."""
    made: list[Pool] = []
    first = random.randrange(2**32)
    until_ = monotonic() + seconds
    rounds = 0
    try:
        while monotonic() < until_:
            run(first + rounds, ["thread"] * count, made)
            rounds += 1
    finally:
        print(f"{rounds} rounds of {count} pools, seeds from {first}")
        for pool in made:
            pool.kill()
