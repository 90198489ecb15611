"""What a pool must not take."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from concurrent.futures import Executor
from contextlib import contextmanager

from workpool import Options, Pool, Task


def power(base: float, exponent: int = 2, *, modulo: int | None = None) -> float:
    """Take positions, defaults and a keyword."""
    return base**exponent if modulo is None else base**exponent % modulo


def setup(host: str, port: int = 80) -> None:
    """Be an initializer."""


def lone(word: str) -> None:
    """Be one that needs its argument."""


@contextmanager
def connection() -> Generator[str]:
    """Be a worker's context."""
    yield "open"


def yields() -> Generator[str]:
    """Be none, for want of a decorator."""
    yield "open"


def submits(pool: Pool) -> None:
    """Arguments that the function does not take."""
    pool.submit(power, 2.0, 3, modulo=5)
    pool.submit(power, "2")  # E
    pool.submit(power, 2.0, "3")  # E
    pool.submit(power)  # E
    pool.submit(power, 2.0, 3, 4)  # E
    pool.submit(power, 2.0, modulo="5")  # E
    pool.submit(power, 2.0, mod=5)  # E
    pool.submit(power, 2.0, base=2.0)  # E
    pool.submit(len, 3)  # E
    pool.submit(power(2.0))  # E
    pool.submit("power", 2.0)  # E
    pool.submit()  # E
    pool.submit(fn=power)  # E
    pool.submit(power, 2.0, timeout=1.0)  # E


def outcomes(pool: Pool) -> None:
    """Types that do not come out."""
    task = pool.submit(power, 2.0)
    text: str = task.result()  # E
    other: Task[str] = task  # E
    task.result(timeout="1")  # E
    task.cancel(True)  # E
    task.retries  # E
    task.add_done_callback(lambda: None)  # E
    del text, other


def terms(pool: Pool) -> None:
    """Options that there are not, or not of that type."""
    view = pool.options(time_limit=1.0, retry_on=OSError)
    view.submit(power, 2.0)
    view.submit(power, "2")  # E
    view.map(power, ["2"])  # E
    view.join()  # E
    view.options(retries=1)  # E
    pool.options(timeout=1.0)  # E
    pool.options(1.0)  # E
    pool.options(time_limit="1")  # E
    pool.options(retries=1.5)  # E
    pool.options(retry_on="OSError")  # E
    pool.options(retry_on=[OSError])  # E
    pool.options(retry_on=OSError())  # E
    pool.options(priority="high")  # E
    pool.options(name=3)  # E
    pool.options(queue_timeout="1")  # E
    closed: Pool = view  # E
    opened: Options = pool  # E
    executor: Executor = view  # E
    del closed, opened, executor


def settings() -> None:
    """Settings that there are not, or not of that type."""
    Pool(4, backend="process", start_method="spawn", worker_context=connection)
    Pool("4")  # E
    Pool(4.0)  # E
    Pool(4, "process")  # E
    Pool(backend="processes")  # E
    Pool(backend=None)  # E
    Pool(start_method="vfork")  # E
    Pool(workers=4)  # E
    Pool(queue_size=None)  # E
    Pool(time_limit="1")  # E
    Pool(retries="1")  # E
    Pool(retry_on=[OSError])  # E
    Pool(max_tasks_per_worker=1.5)  # E
    Pool(worker_context=connection())  # E
    Pool(worker_context=yields)  # E
    Pool(worker_context=setup)  # E
    Pool(name=b"images")  # E


def initializers() -> None:
    """Initializers that their arguments do not fit."""
    Pool(initializer=setup, initargs=("localhost", 80))
    Pool(initializer="setup")  # E
    Pool(initializer=setup())  # E
    Pool(initializer=setup, initargs=(80,))  # E
    Pool(initializer=setup, initargs=("localhost", "80"))  # E
    Pool(initializer=setup, initargs=("localhost", 80, 1))  # E
    Pool(initializer=lone)  # E
    Pool(initializer=lone, initargs=())  # E
    Pool(initializer=lone, initargs="localhost")  # E
    Pool(initializer=lone, initargs=["localhost"])  # E


def life(pool: Pool) -> None:
    """Calls about the pool that say something else."""
    pool.join("1")  # E
    pool.join(wait=True)  # E
    pool.shutdown(True, True)  # E
    pool.close(wait=True)  # E
    pool.unfinished()  # E
    pool.max_workers = 4  # E
    pool.name = "other"  # E
    pool.options(seed="1")  # E
    pool.options(context="request")  # E
    pool.options(context=[1])  # E


def groups(pool: Pool) -> None:
    """A group takes what its pool takes."""
    pool.group(1.0)  # E
    pool.group(kill_after="1")  # E
    with pool.group() as group:
        group.submit(power, 2.0)
        group.submit(power, "2")  # E
        group.submit(power)  # E
        group.map(power, [2.0])  # E
        group.cancel(True)  # E
    pool.timeline()  # E
    pool.timeline(3.5)  # E


async def runs(pool: Pool) -> None:
    """Run takes what the function takes, and has to be awaited."""
    number: float = await pool.run(power, 2.0)
    await pool.run(power, "2")  # E
    await pool.run(power)  # E
    text: str = await pool.run(power, 2.0)  # E
    late: float = pool.run(power, 2.0)  # E
    await asyncio.get_running_loop().run_in_executor(pool, power)  # E
    await pool.map(power, [2.0])  # E
    del number, text, late
