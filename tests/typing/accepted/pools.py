"""A pool keeps the types of the functions it is given."""

from __future__ import annotations

import logging
import multiprocessing
import random
from collections.abc import Callable, Generator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, assert_type

from typing_extensions import ParamSpec, TypeVar

from workpool import (
    BackendName,
    Current,
    Group,
    InitializerFailed,
    JoinTimeout,
    NotPicklable,
    Options,
    Pool,
    PoolClosed,
    Stats,
    Task,
    TimeLimitExceeded,
    WorkerLost,
    WorkerStack,
    current,
)

P = ParamSpec("P")
R = TypeVar("R")


class Image:
    """Something with an initializer and methods."""

    def __init__(self, path: str, *, dpi: int = 72) -> None:
        self.path = path
        self.dpi = dpi

    def resized(self, width: int, height: int = 100) -> Image:
        """Give another one."""
        return Image(self.path, dpi=self.dpi * width // height)

    @classmethod
    def opened(cls, path: str) -> Image:
        """Make one."""
        return cls(path)

    @staticmethod
    def formats() -> list[str]:
        """Take nothing."""
        return ["png"]

    def __call__(self, page: int) -> bytes:
        """Be called like a function."""
        return self.path.encode() * page


def power(base: float, exponent: int = 2, *, modulo: int | None = None) -> float:
    """Take positions, defaults and a keyword."""
    return base**exponent if modulo is None else base**exponent % modulo


def total(*numbers: int, **named: str) -> tuple[int, str]:
    """Take any number of both."""
    return sum(numbers), "".join(named.values())


def first(items: list[R]) -> R:
    """Give what it was given."""
    return items[0]


def submits(pool: Pool, image: Image) -> None:
    """Submit takes what the function takes, and gives a task of what it returns."""
    assert_type(pool.submit(power, 2.0), Task[float])
    assert_type(pool.submit(power, 2.0, 3), Task[float])
    assert_type(pool.submit(power, 2.0, exponent=3, modulo=5), Task[float])
    assert_type(pool.submit(total, 1, 2, 3, a="x", b="y"), Task[tuple[int, str]])
    assert_type(pool.submit(len, "abc"), Task[int])
    assert_type(pool.submit(print, "abc", end=""), Task[None])
    assert_type(pool.submit(Image, "a.png", dpi=300), Task[Image])
    assert_type(pool.submit(Image.opened, "a.png"), Task[Image])
    assert_type(pool.submit(Image.formats), Task[list[str]])
    assert_type(pool.submit(image.resized, 10, height=20), Task[Image])
    assert_type(pool.submit(image, 3), Task[bytes])
    assert_type(pool.submit(partial(power, modulo=3), 2.0), Task[float])
    assert_type(pool.submit(lambda: 1), Task[int])
    words: list[str] = []
    assert_type(pool.submit(first, words).result(), str)


def submits_keywords_of_its_own_name(pool: Pool) -> None:
    """A task may have parameters named as those of submit are."""

    def strange(fn: int, self: str) -> int:
        return fn + len(self)

    assert_type(pool.submit(strange, fn=1, self="a"), Task[int])
    assert_type(pool.options(retries=1).submit(strange, fn=1, self="a"), Task[int])


def passes_on(pool: Pool, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """A function with a ParamSpec of its own hands it through."""
    return pool.submit(fn, *args, **kwargs).result()


def terms(pool: Pool) -> None:
    """A view keeps types as the pool does, whatever its terms."""
    assert_type(pool.options(), Options)
    view = pool.options(
        time_limit=5.0,
        retries=2,
        retry_on=(OSError, ValueError),
        backoff=0.1,
        priority=-1,
        name="digest",
        queue_timeout=1.0,
    )
    assert_type(view, Options)
    assert_type(pool.options(retry_on=OSError), Options)
    assert_type(pool.options(context=True, seed=1), Options)
    assert_type(pool.options(context=[ContextVar[int]("a"), "opentelemetry"]), Options)
    assert_type(
        pool.options(context=[ContextVar("b", default=1), ContextVar("c", default="d")]), Options
    )
    assert_type(Pool(context=False, seed=None), Pool)
    assert_type(view.submit(power, 2.0, modulo=3), Task[float])


async def runs(pool: Pool) -> None:
    """Run and await give the result itself."""
    assert_type(await pool.run(power, 2.0, modulo=3), float)
    assert_type(await pool.options(priority=1).run(len, "abc"), int)
    async with Pool(2, backend="process") as other:
        assert_type(other, Pool)
        assert_type(await other.submit(len, "abc"), int)


def with_blocks() -> None:
    """The with block gives the pool, not some Executor."""
    with Pool() as pool:
        assert_type(pool, Pool)
    executor: Executor = pool
    del executor


@contextmanager
def connection() -> Generator[str]:
    """Be a worker's context."""
    yield "open"


def setup(host: str, port: int = 80, *, retry: bool = False) -> None:
    """Be an initializer."""


def settings(backend: BackendName) -> None:
    """All settings, and each way to give an initializer its arguments."""
    Pool(
        4,
        backend="process",
        worker_context=connection,
        queue_size=100,
        time_limit=1.0,
        retries=3,
        retry_on=OSError,
        backoff=0.5,
        priority=1,
        max_tasks_per_worker=10,
        start_method="spawn",
        start_timeout=None,
        end_timeout=5.0,
        name="images",
    )
    Pool(backend=backend)
    Pool(backend="interpreter")
    Pool(max_workers=None, initializer=setup, initargs=("localhost",))
    Pool(initializer=setup, initargs=("localhost", 8080))
    Pool(initializer=partial(setup, retry=True), initargs=("localhost",))
    Pool(initializer=print, initargs=("a", 1, None))
    Pool(initializer=Image.formats)
    Pool(initializer=lambda lock, n: None, initargs=(multiprocessing.Lock(), 2))
    Pool(initializer=None, initargs=())
    Pool(initializer=logging.basicConfig)
    Pool(initializer=random.seed)
    Pool(initializer=level_of, initargs=(3,))
    Pool(initializer=level_of)
    Pool(initializer=named)
    Pool(initializer=total)


def level_of(level: int = 3, *, name: str = "") -> None:
    """Be one that needs no argument."""


def named(*, name: str = "") -> None:
    """Be one that takes none by position."""


def open_initializer(
    initializer: Callable[..., object],
    initargs: tuple[Any, ...],
    maybe: Callable[[int], None] | None,
) -> None:
    """What is passed through untyped is accepted."""
    Pool(initializer=initializer, initargs=initargs)
    Pool(initializer=level_of, initargs=initargs)
    Pool(initializer=total, initargs=initargs)
    Pool(initializer=maybe, initargs=(1,))


def life(pool: Pool) -> None:
    """The calls about the pool itself."""
    assert_type(pool.name, str)
    assert_type(pool.backend, BackendName)
    assert_type(pool.max_workers, int)
    assert_type(pool.unfinished, int)
    assert_type(pool.stats(), Stats)
    assert_type(pool.stats().queued, int)
    assert_type(pool.stats().run_time, dict[int, float])
    pool.join()
    pool.join(timeout=1.5)
    pool.shutdown()
    pool.shutdown(False, cancel_futures=True)
    pool.close()
    pool.kill()


def groups(pool: Pool) -> None:
    """A group submits as its pool does, and its tasks have the same types."""
    assert_type(pool.group(), Group)
    with pool.group(kill_after=1.0) as group:
        assert_type(group, Group)
        task = group.submit(power, 2.0, modulo=3)
        assert_type(task, Task[float])
        assert_type(group.cancelled, bool)
        group.cancel()
    assert_type(task.result(), float)  # what a block made is known behind it
    with pool.options(retries=1).group() as group:
        group.submit(len, "abc")


def number_of_a_group(pool: Pool) -> int:
    """A block that a group ends is left by its return."""
    with pool.group() as group:
        task = group.submit(len, "abc")
        return task.result()


async def groups_async(pool: Pool) -> None:
    """The same without blocking the loop."""
    async with pool.group() as group:
        assert_type(group, Group)
        assert_type(await group.submit(len, "abc"), int)


def observes(pool: Pool, path: Path) -> None:
    """What a pool tells about its past."""
    pool.timeline("trace.json")
    pool.timeline(path)
    assert_type(pool.stacks(), list[WorkerStack])
    assert_type(pool.submit(len, "abc").stdout, str)


def surroundings() -> None:
    """What a task learns about itself."""
    assert_type(current(), Current)
    assert_type(current().pool, str)
    assert_type(current().worker, int)
    assert_type(current().task_id, int)
    assert_type(current().attempt, int)
    assert_type(current().cancelled, bool)
    assert_type(current().seed, int | None)
    assert_type(current().rng, Random)


def errors(pool: Pool, task: Task[int]) -> None:
    """Errors are what the built-in ones are, and carry their parts."""
    try:
        pool.join(timeout=1.0)
    except JoinTimeout as error:
        assert_type(error.unfinished, int)
        assert_type(error.running, tuple[tuple[str, float], ...])
        late: TimeoutError = error
        del late
    try:
        task.result()
    except WorkerLost as lost:
        assert_type(lost.exitcode, int | None)
        assert_type(lost.out_of_memory, bool)
        broken: BrokenExecutor = lost
        del broken
    except InitializerFailed as failed:
        stopped: BrokenExecutor = failed
        del stopped
    except TimeLimitExceeded as late_task:
        assert_type(late_task.time_limit, float)
    except NotPicklable as stuck:
        assert_type(stuck.part, str)
    except PoolClosed as closed:
        refused: RuntimeError = closed
        del refused
