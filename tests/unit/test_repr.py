"""The sizes, limits and methods in force can be read off a pool."""

from __future__ import annotations

import threading

from workpool import Pool


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
