"""How each library is asked: one small class each. A pool has two worker processes unless told otherwise."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any, ClassVar

__all__ = ["POOLS", "PoolUnderTest"]

Outcome = tuple[bool, Any]  # whether there is a value, and the value or the error


class PoolUnderTest:
    """A pool of a library."""

    name: ClassVar[str]
    package: ClassVar[str] = ""
    has_initializer: ClassVar[bool] = True
    has_limit: ClassVar[bool] = False
    keeps_single_outcomes: ClassVar[bool] = True  # one error for all otherwise

    @classmethod
    def installed(cls) -> bool:
        """Tell whether it can be tried here."""
        return not cls.package or find_spec(cls.package) is not None

    def open(self, workers: int = 2, initializer: Callable[[], object] | None = None) -> None:
        """Make the pool."""
        raise NotImplementedError

    def submit(self, fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        """Submit a task; gives what waits for its result, or raises."""
        raise NotImplementedError

    def close(self) -> None:
        """End it in order, as its with block does."""
        raise NotImplementedError

    def limited(self, seconds: float, fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        """Submit a task that is to be ended after so many seconds."""
        raise NotImplementedError

    def run(self, fn: Callable[..., Any], items: Iterable[Any]) -> list[Outcome]:
        """Have a function called with each item; give what came of each."""
        waits: list[Any] = []
        for item in items:
            try:
                waits.append(self.submit(fn, item))
            except Exception as error:
                waits.append(error)
        return [outcome_of(wait) for wait in waits]


def outcome_of(wait: Any) -> Outcome:
    """Wait for a result, or take in that there is none."""
    if isinstance(wait, Exception):
        return False, wait
    try:
        return True, wait()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return False, error


class Workpool(PoolUnderTest):
    """Ours."""

    name = "workpool"
    package = "workpool"
    has_limit = True

    def open(self, workers: int = 2, initializer: Callable[[], object] | None = None) -> None:
        from workpool import Pool

        self.pool = Pool(workers, backend="process", initializer=initializer)

    def submit(self, fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        return self.pool.submit(fn, *args).result

    def limited(self, seconds: float, fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        return self.pool.options(time_limit=seconds).submit(fn, *args).result

    def close(self) -> None:
        self.pool.shutdown()


class ConcurrentFutures(PoolUnderTest):
    """The standard library's executor."""

    name = "concurrent.futures"

    def open(self, workers: int = 2, initializer: Callable[[], object] | None = None) -> None:
        from concurrent.futures import ProcessPoolExecutor

        self.pool: Any = ProcessPoolExecutor(workers, initializer=initializer)

    def submit(self, fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        wait: Callable[[], Any] = self.pool.submit(fn, *args).result
        return wait

    def close(self) -> None:
        self.pool.shutdown()


class Loky(ConcurrentFutures):
    """joblib's executor."""

    name = "loky"
    package = "loky"

    def open(self, workers: int = 2, initializer: Callable[[], object] | None = None) -> None:
        import loky

        self.pool = loky.get_reusable_executor(workers, initializer=initializer)

    def submit(self, fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        import loky

        # What is advised for one that broke: ask for it again.
        self.pool = loky.get_reusable_executor(self.pool._max_workers, reuse=True)
        wait: Callable[[], Any] = self.pool.submit(fn, *args).result
        return wait


class MultiprocessingPool(PoolUnderTest):
    """The standard library's older pool."""

    name = "multiprocessing.Pool"

    def open(self, workers: int = 2, initializer: Callable[[], object] | None = None) -> None:
        import multiprocessing

        self.pool: Any = multiprocessing.Pool(workers, initializer)

    def submit(self, fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        wait: Callable[[], Any] = self.pool.apply_async(fn, args).get
        return wait

    def close(self) -> None:
        self.pool.close()
        self.pool.join()


class Joblib(PoolUnderTest):
    """A loop: all of its results, or one error."""

    name = "joblib"
    package = "joblib"
    has_initializer = False
    keeps_single_outcomes = False

    def open(self, workers: int = 2, initializer: Callable[[], object] | None = None) -> None:
        import joblib

        self._workers = workers
        self._parallel = joblib.Parallel
        self._delayed: Any = joblib.delayed

    def run(self, fn: Callable[..., Any], items: Iterable[Any]) -> list[Outcome]:
        items = list(items)
        try:
            values = self._parallel(n_jobs=self._workers)(self._delayed(fn)(each) for each in items)
        except (Exception, SystemExit) as error:
            return [(False, error)] * len(items)
        return [(True, value) for value in values]

    def submit(self, fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        def wait() -> Any:
            return self._parallel(n_jobs=self._workers)([self._delayed(fn)(*args)] * 2)

        return wait

    def close(self) -> None:
        pass


class Mpire(PoolUnderTest):
    """mpire."""

    name = "mpire"
    package = "mpire"
    has_limit = True
    has_initializer = False  # of map calls only

    def open(self, workers: int = 2, initializer: Callable[[], object] | None = None) -> None:
        import mpire

        self.pool: Any = mpire.WorkerPool(workers)

    def submit(self, fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        wait: Callable[[], Any] = self.pool.apply_async(fn, args).get
        return wait

    def limited(self, seconds: float, fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        wait: Callable[[], Any] = self.pool.apply_async(fn, args, task_timeout=seconds).get
        return wait

    def close(self) -> None:
        self.pool.stop_and_join()


class Pebble(PoolUnderTest):
    """pebble."""

    name = "pebble"
    package = "pebble"
    has_limit = True

    def open(self, workers: int = 2, initializer: Callable[[], object] | None = None) -> None:
        import pebble

        self.pool: Any = pebble.ProcessPool(workers, initializer=initializer)

    def submit(self, fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        wait: Callable[[], Any] = self.pool.submit(fn, None, *args).result
        return wait

    def limited(self, seconds: float, fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        wait: Callable[[], Any] = self.pool.submit(fn, seconds, *args).result
        return wait

    def close(self) -> None:
        self.pool.close()
        self.pool.join()


POOLS: list[type[PoolUnderTest]] = [
    Workpool,
    ConcurrentFutures,
    MultiprocessingPool,
    Loky,
    Joblib,
    Mpire,
    Pebble,
]


def kill(pid: int) -> None:
    """End a process as kill -9 does."""
    os.kill(pid, signal.SIGKILL)
