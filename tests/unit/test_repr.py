"""The sizes, limits and methods in force can be read off a pool."""

from __future__ import annotations

import asyncio
import threading
from itertools import count

import pytest

from workpool import Pool
from workpool.scheduling.terms import Terms


def test_defaults_are_shown() -> None:
    """Workers, backend and name are always told, and how many workers there are now."""
    with Pool(3, name="images") as pool:
        assert repr(pool).startswith("<Pool(3, backend='thread', name='images'")
        assert repr(pool).endswith(") 0 workers, 0 unfinished>")
        pool.submit(abs, -1).result(timeout=20)
        pool.join(timeout=20)
        assert repr(pool).endswith(") 1 workers, 0 unfinished>")
    assert repr(pool).endswith(") closed, 0 unfinished>")


def test_limits_are_shown() -> None:
    """Each setting that is not left at its default is told with its value."""
    with Pool(
        1, queue_size=7, time_limit=2.5, retries=3, max_tasks_per_worker=50, backend="thread"
    ) as pool:
        for shown in ("queue_size=7", "time_limit=2.5", "retries=3", "max_tasks_per_worker=50"):
            assert shown in repr(pool)


def test_methods_are_shown() -> None:
    """How processes start, and how many CPUs there are for them, is told without one being started."""
    with Pool(1, backend="process", start_method="spawn") as pool:
        assert "start_method='spawn'" in repr(pool)
        assert "CPUs usable" in repr(pool)
    with Pool(5, backend="inline") as pool:
        assert repr(pool).startswith("<Pool(1, backend='inline'"), (
            "there is one thread to run tasks"
        )


def test_what_is_unfinished_is_shown() -> None:
    """A task that waits or runs is counted; a view shows its pool and its terms."""
    gate = threading.Event()
    with Pool(1, name="slow") as pool:
        pool.submit(gate.wait, 20)
        assert "1 unfinished" in repr(pool)
        gate.set()
        view = pool.options(priority=4, name="digest")
        assert repr(view).startswith("<Options of slow: ")
        assert "priority=4" in repr(view)
        assert "name='digest'" in repr(view)
        assert "retries" not in repr(view)  # as it is by itself
        assert repr(pool.options()) == "<Options of slow: no terms>"


def test_results_show_how_far_they_are() -> None:
    """How many were yielded and pulled, whether that was all, and whether somebody wants the rest."""
    with Pool(1, name="slow") as pool:
        results = pool.map(abs, [-1, 2, 3])
        assert repr(results) == "<Results: 0 yielded, 3 pulled, all>"
        assert next(results) == 1
        assert repr(results) == "<Results: 1 yielded, 3 pulled, all>"
        endless = pool.map(abs, count(), buffersize=2)
        assert next(endless) == 0
        assert repr(endless).startswith("<Results: 1 yielded, ")
        assert repr(endless).endswith(" pulled, more to come>")
        endless.close()
        assert repr(endless).endswith(" pulled, closed>")


def test_results_that_were_dropped_are_not_shown_as_yielded() -> None:
    """What was there, and that nobody took, was not yielded."""
    with Pool(1) as pool:
        results = pool.map(abs, range(1000))
        pool.join(timeout=20)
        assert (next(results), next(results)) == (0, 1)
        results.close()
        assert repr(results) == "<Results: 2 yielded, 1000 pulled, closed>"


def test_resources_are_shown_as_they_were_given() -> None:
    """And not as what they are kept in."""
    assert Terms(resources={"GPU": 1}).shown() == ["resources={'GPU': 1}"]


def test_a_wait_that_was_too_short_says_what_it_waited_for() -> None:
    """The error of a result that is not there names the task, or the map call's limit, and what becomes of it."""
    gate = threading.Event()
    with Pool(1) as pool:
        held = pool.submit(gate.wait, 20)
        for ask in (held.result, held.exception):
            with pytest.raises(TimeoutError, match=r"^Event.wait is not done yet\. It goes on"):
                ask(timeout=0.01)
        with pytest.raises(
            TimeoutError, match=r"not there 0\.01 s after the call; .* is cancelled"
        ):
            next(pool.map(abs, [1], timeout=0.01))
        gate.set()


def test_an_async_wait_that_was_too_short_says_the_same() -> None:
    """As without a loop."""
    gate = threading.Event()

    async def main() -> None:
        async with Pool(1) as pool:
            pool.submit(gate.wait, 20)
            with pytest.raises(TimeoutError, match=r"not there 0\.01 s after the call"):
                await anext(pool.map(abs, [1], timeout=0.01))
            gate.set()

    asyncio.run(main())
