"""Pools with the interface of concurrent.futures: its own two, loky's and deadpool's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from benchmarks.libraries.base import Library


class Executor(Library):
    """What all of them have in common."""

    pool: Any

    def close(self) -> None:
        self.pool.shutdown()

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.pool.submit(fn, *args).result()

    def submit_many(self, fn: Callable[[], Any], count: int) -> list[Any]:
        submit = self.pool.submit
        return [submit(fn) for _ in range(count)]

    def gather(self, handles: list[Any]) -> list[Any]:
        return [future.result() for future in handles]

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.map(fn, items)
        return results

    def stream(self, fn: Callable[[Any], Any], items: Iterator[Any]) -> Iterator[Any]:
        results: Iterator[Any] = self.pool.map(fn, items)
        return results


class Threads(Executor):
    """concurrent.futures.ThreadPoolExecutor; its map takes no notice of chunks."""

    name = "ThreadPoolExecutor"
    kind = "thread"
    imports = "import concurrent.futures.thread"
    in_quick = True

    def load(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._make = ThreadPoolExecutor

    def open(self, workers: int) -> None:
        self.pool = self._make(workers)


class Processes(Executor):
    """concurrent.futures.ProcessPoolExecutor."""

    kind = "process"
    imports = "import concurrent.futures.process"

    def load(self) -> None:
        from concurrent.futures import ProcessPoolExecutor
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context

        self._make = ProcessPoolExecutor
        self._context = get_context(self.start_method)
        self._broken = BrokenProcessPool

    def open(self, workers: int) -> None:
        self._workers = workers
        self.pool = self._make(workers, mp_context=self._context)

    def map_tuned(
        self, fn: Callable[[Any], Any], items: Iterable[Any], chunk: int
    ) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.map(fn, items, chunksize=chunk)
        return results

    def call_again(self, fn: Callable[..., Any], *args: Any) -> Any:
        try:
            return self.call(fn, *args)
        except self._broken:  # the whole pool is: make another
            self.pool.shutdown()
            self.open(self._workers)
            return self.call(fn, *args)


class ProcessesForkserver(Processes):
    """Started by a fork server."""

    name = "ProcessPoolExecutor (forkserver)"
    start_method = "forkserver"
    in_quick = True


class ProcessesFork(Processes):
    """Forked from the parent."""

    name = "ProcessPoolExecutor (fork)"
    start_method = "fork"


class ProcessesSpawn(Processes):
    """Each started from nothing."""

    name = "ProcessPoolExecutor (spawn)"
    start_method = "spawn"
    only = frozenset({"start"})


class Loky(Executor):
    """loky's reusable executor, as its README advises."""

    name = "loky"
    kind = "process"
    package = "loky"
    imports = "import loky"
    start_method = "loky"

    def load(self) -> None:
        import loky

        self._make = loky.get_reusable_executor
        self._broken = loky.BrokenProcessPool

    def open(self, workers: int) -> None:
        self._workers = workers
        self.pool = self._make(max_workers=workers)

    def close(self) -> None:
        self.pool.shutdown(wait=True)

    def map_tuned(
        self, fn: Callable[[Any], Any], items: Iterable[Any], chunk: int
    ) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.map(fn, items, chunksize=chunk)
        return results

    def call_again(self, fn: Callable[..., Any], *args: Any) -> Any:
        try:
            return self.call(fn, *args)
        except self._broken:  # asked again, it makes a new one
            self.open(self._workers)
            return self.call(fn, *args)


class Deadpool(Executor):
    """deadpool-executor, with time limits."""

    name = "deadpool (forkserver)"
    kind = "process"
    package = "deadpool"
    imports = "import deadpool"
    start_method = "forkserver"
    # Its map submits everything at the call, a thousand at a time: no end within the time.
    stream = Library.stream

    def load(self) -> None:
        import deadpool

        self._make = deadpool.Deadpool
        self._over = deadpool.TimeoutError
        self._died = deadpool.ProcessError

    def open(self, workers: int) -> None:
        self.pool = self._make(max_workers=workers, mp_context=self.start_method)

    def call_limited(self, fn: Callable[..., Any], *args: Any, limit: float) -> None:
        with suppress(self._over):
            self.pool.submit(fn, *args, deadpool_timeout=limit).result()

    def call_again(self, fn: Callable[..., Any], *args: Any) -> Any:
        try:
            return self.call(fn, *args)
        except self._died:
            return self.call(fn, *args)


LIBRARIES = [Threads, ProcessesForkserver, ProcessesFork, ProcessesSpawn, Loky, Deadpool]
