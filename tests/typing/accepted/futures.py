"""A task is a future, and a pool an executor, for everything that takes one."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_EXCEPTION,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from typing import assert_type

from workpool import Pool, Task


def double(n: int) -> int:
    """Double."""
    return 2 * n


def knows(task: Task[int]) -> None:
    """What a task knows about itself."""
    assert_type(task.id, int)
    assert_type(task.name, str)
    assert_type(task.attempts, int)
    assert_type(task.worker, int | None)
    assert_type(task.queued_for, float)
    assert_type(task.ran_for, float)


def is_a_future(task: Task[int]) -> None:
    """Every call of a future."""
    assert_type(task.result(), int)
    assert_type(task.result(timeout=1.0), int)
    assert_type(task.result(1.0), int)
    assert_type(task.exception(), BaseException | None)
    assert_type(task.exception(timeout=1.0), BaseException | None)
    assert_type(task.cancel(), bool)
    assert_type(task.cancel(kill=True), bool)
    assert_type(task.cancelled(), bool)
    assert_type(task.running(), bool)
    assert_type(task.done(), bool)
    future: Future[int] = task
    del future
    lone: Task[str] = Task()
    lone.set_result("a")
    lone.set_exception(ValueError())
    assert_type(lone.set_running_or_notify_cancel(), bool)


def calls_back(task: Task[int]) -> None:
    """A callback may ask for a task, or for any future."""

    def of_task(done: Task[int]) -> None:
        assert_type(done.attempts, int)

    def of_future(done: Future[int]) -> str:
        return str(done.result())

    task.add_done_callback(of_task)
    task.add_done_callback(of_future)
    task.add_done_callback(lambda done: print(done.name, done.result() + 1))


def waits(pool: Pool, plain: Future[int]) -> None:
    """The standard library's waits keep the types."""
    tasks = [pool.submit(double, n) for n in range(3)]
    assert_type(tasks, list[Task[int]])
    done, pending = concurrent.futures.wait(tasks, timeout=1.0, return_when=FIRST_EXCEPTION)
    for task in concurrent.futures.as_completed(tasks, timeout=1.0):
        assert_type(task.result(), int)
    assert_type([task.result() for task in done | pending], list[int])
    mixed: list[Future[int]] = [*tasks, plain]
    concurrent.futures.wait(mixed, return_when=ALL_COMPLETED)
    # as_completed gives plain futures back, so a dict of them is one of futures.
    by_path: dict[Future[int], str] = {pool.submit(len, path): path for path in ("a", "b")}
    for known in concurrent.futures.as_completed(by_path):
        assert_type(by_path[known], str)


async def awaits(pool: Pool, task: Task[int]) -> None:
    """Asyncio takes both."""
    assert_type(await task, int)
    assert_type(await asyncio.wrap_future(task), int)
    assert_type(await asyncio.get_running_loop().run_in_executor(pool, double, 1), int)
    one, other = await asyncio.gather(pool.run(double, 1), pool.run(str, 2))
    assert_type(one, int)
    assert_type(other, str)
    await asyncio.wait_for(pool.run(double, 1), timeout=1.0)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(pool.run(double, 1))
    assert_type(running.result(), int)


def is_an_executor(pool: Pool) -> None:
    """A pool goes wherever an executor is asked for, and where some of them are chosen from."""

    def digest_all(executor: Executor, names: list[str]) -> list[int]:
        futures = [executor.submit(len, name) for name in names]
        return [future.result() for future in futures] + list(executor.map(len, names))

    assert_type(digest_all(pool, ["a"]), list[int])
    with Pool(2) as inner:
        assert_type(digest_all(inner, ["a"]), list[int])
    kinds: list[Callable[[int], Executor]] = [Pool, ThreadPoolExecutor, ProcessPoolExecutor]
    for kind in kinds:
        with kind(2) as executor:
            assert_type(executor.submit(double, 1), Future[int])
