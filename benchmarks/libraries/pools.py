"""Pools with the interface of multiprocessing.Pool: its own two, and billiard's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from benchmarks.libraries.base import Library


class PoolLike(Library):
    """What all of them have in common."""

    pool: Any

    def close(self) -> None:
        self.pool.close()
        self.pool.join()

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.pool.apply_async(fn, args).get()

    def submit_many(self, fn: Callable[[], Any], count: int) -> list[Any]:
        submit = self.pool.apply_async
        return [submit(fn) for _ in range(count)]

    def gather(self, handles: list[Any]) -> list[Any]:
        return [result.get() for result in handles]

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.map(fn, items)
        return results

    def map_tuned(
        self, fn: Callable[[Any], Any], items: Iterable[Any], chunk: int
    ) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.imap(fn, items, chunksize=chunk)
        return results

    def stream(self, fn: Callable[[Any], Any], items: Iterator[Any]) -> Iterator[Any]:
        results: Iterator[Any] = self.pool.imap(fn, items)
        return results


class ThreadPool(PoolLike):
    """multiprocessing.pool.ThreadPool."""

    name = "multiprocessing.ThreadPool"
    kind = "thread"
    imports = "import multiprocessing.pool"
    in_quick = True

    def load(self) -> None:
        from multiprocessing.pool import ThreadPool as Make

        self._make = Make

    def open(self, workers: int) -> None:
        self.pool = self._make(workers)


class ProcessPool(PoolLike):
    """multiprocessing.Pool."""

    kind = "process"
    imports = "import multiprocessing.pool"

    def load(self) -> None:
        import multiprocessing.pool  # noqa: F401 - what the context's Pool would load
        from multiprocessing import get_context

        self._make = get_context(self.start_method).Pool

    def open(self, workers: int) -> None:
        self.pool = self._make(workers)


class PoolForkserver(ProcessPool):
    """Started by a fork server."""

    name = "multiprocessing.Pool (forkserver)"
    start_method = "forkserver"
    in_quick = True


class PoolFork(ProcessPool):
    """Forked from the parent."""

    name = "multiprocessing.Pool (fork)"
    start_method = "fork"


class PoolSpawn(ProcessPool):
    """Each started from nothing."""

    name = "multiprocessing.Pool (spawn)"
    start_method = "spawn"
    only = frozenset({"start"})


class Billiard(PoolLike):
    """billiard, the pool of Celery; forks."""

    name = "billiard (fork)"
    kind = "process"
    package = "billiard"
    imports = "import billiard.pool"
    start_method = "fork"
    # Its imap fails on Python 3.13: an attribute is missing from its iterator.
    stream = Library.stream

    def load(self) -> None:
        import billiard.pool
        from billiard.einfo import ExceptionWithTraceback

        self._make = billiard.pool.Pool
        # Time limits and lost workers come wrapped in this.
        self._told = ExceptionWithTraceback

    def open(self, workers: int) -> None:
        # Its time limits are kept by a thread that has to be asked for.
        self.pool = self._make(workers, threads=True, enable_timeouts=True)

    def call_limited(self, fn: Callable[..., Any], *args: Any, limit: float) -> None:
        with suppress(self._told):
            self.pool.apply_async(fn, args, timeout=limit).get()

    def call_again(self, fn: Callable[..., Any], *args: Any) -> Any:
        try:
            return self.call(fn, *args)
        except self._told:
            return self.call(fn, *args)


LIBRARIES = [ThreadPool, PoolForkserver, PoolFork, PoolSpawn, Billiard]
