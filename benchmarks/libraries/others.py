"""Libraries with an interface of their own: joblib, mpire and pebble."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from benchmarks.libraries.base import Library
from benchmarks.libraries.pools import PoolLike


class Joblib(Library):
    """joblib.Parallel as a context, which keeps its workers; it has no submit."""

    package = "joblib"
    imports = "import joblib"
    backend = ""
    pool: Any

    def load(self) -> None:
        import joblib

        self._make = joblib.Parallel
        self._delayed = joblib.delayed

    def open(self, workers: int) -> None:
        self._workers = workers
        self.pool = self._make(n_jobs=workers, backend=self.backend).__enter__()

    def close(self) -> None:
        self.pool.__exit__(None, None, None)

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.pool([self._delayed(fn)(*args)])[0]

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        delayed = self._delayed
        results: Iterable[Any] = self.pool(delayed(fn)(item) for item in items)
        return results

    def map_tuned(
        self, fn: Callable[[Any], Any], items: Iterable[Any], chunk: int
    ) -> Iterable[Any]:
        delayed = self._delayed
        tuned = self._make(n_jobs=self._workers, backend=self.backend, batch_size=chunk)
        results: Iterable[Any] = tuned(delayed(fn)(item) for item in items)
        return results

    def stream(self, fn: Callable[[Any], Any], items: Iterator[Any]) -> Iterator[Any]:
        delayed = self._delayed
        lazy = self._make(n_jobs=self._workers, backend=self.backend, return_as="generator")
        results: Iterator[Any] = lazy(delayed(fn)(item) for item in items)
        return results


class JoblibThreads(Joblib):
    """Its threads."""

    name = "joblib (threading)"
    kind = "thread"
    backend = "threading"


class JoblibProcesses(Joblib):
    """Its processes, which are loky's."""

    name = "joblib (loky)"
    kind = "process"
    start_method = "loky"
    backend = "loky"

    def close(self) -> None:
        from joblib.externals.loky import get_reusable_executor

        super().close()
        get_reusable_executor().shutdown(wait=True)  # it would keep them for the next user


class Mpire(PoolLike):
    """mpire.WorkerPool, whose calls are named as those of multiprocessing.Pool."""

    package = "mpire"
    imports = "import mpire"

    def load(self) -> None:
        from mpire import WorkerPool

        self._make = WorkerPool

    def open(self, workers: int) -> None:
        # Workers stay from one call to the next, as those of all others do.
        self.pool = self._make(
            n_jobs=workers, start_method=self.start_method or "threading", keep_alive=True
        )

    def close(self) -> None:
        self.pool.stop_and_join()

    def map_tuned(
        self, fn: Callable[[Any], Any], items: Iterable[Any], chunk: int
    ) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.map(fn, items, chunk_size=chunk)
        return results

    def call_limited(self, fn: Callable[..., Any], *args: Any, limit: float) -> None:
        with suppress(TimeoutError):
            self.pool.apply_async(fn, args, task_timeout=limit).get()


class MpireThreads(Mpire):
    """Its threads."""

    name = "mpire (threading)"
    kind = "thread"


class MpireFork(Mpire):
    """Forked from the parent, as it does by itself."""

    name = "mpire (fork)"
    kind = "process"
    start_method = "fork"


class MpireForkserver(Mpire):
    """Started by a fork server."""

    name = "mpire (forkserver)"
    kind = "process"
    start_method = "forkserver"


class Pebble(Library):
    """What pebble's two pools have in common."""

    package = "pebble"
    imports = "import pebble"
    pool: Any

    def close(self) -> None:
        self.pool.close()
        self.pool.join()

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.pool.schedule(fn, args=args).result()

    def submit_many(self, fn: Callable[[], Any], count: int) -> list[Any]:
        submit = self.pool.schedule
        return [submit(fn) for _ in range(count)]

    def gather(self, handles: list[Any]) -> list[Any]:
        return [future.result() for future in handles]

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.map(fn, items).result()
        return results

    def map_tuned(
        self, fn: Callable[[Any], Any], items: Iterable[Any], chunk: int
    ) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.map(fn, items, chunksize=chunk).result()
        return results

    def stream(self, fn: Callable[[Any], Any], items: Iterator[Any]) -> Iterator[Any]:
        results: Iterator[Any] = self.pool.map(fn, items).result()
        return results


class PebbleThreads(Pebble):
    """pebble.ThreadPool."""

    name = "pebble"
    kind = "thread"

    def load(self) -> None:
        from pebble import ThreadPool

        self._make = ThreadPool

    def open(self, workers: int) -> None:
        self.pool = self._make(max_workers=workers)


class PebbleProcesses(Pebble):
    """pebble.ProcessPool."""

    kind = "process"

    def load(self) -> None:
        from multiprocessing import get_context

        from pebble import ProcessExpired, ProcessPool

        self._make = ProcessPool
        self._context = get_context(self.start_method)
        self._died = ProcessExpired

    def open(self, workers: int) -> None:
        self.pool = self._make(max_workers=workers, context=self._context)

    def call_limited(self, fn: Callable[..., Any], *args: Any, limit: float) -> None:
        with suppress(TimeoutError):
            self.pool.schedule(fn, args=args, timeout=limit).result()

    def call_again(self, fn: Callable[..., Any], *args: Any) -> Any:
        try:
            return self.call(fn, *args)
        except self._died:
            return self.call(fn, *args)


class PebbleFork(PebbleProcesses):
    """Forked from the parent."""

    name = "pebble (fork)"
    start_method = "fork"


class PebbleForkserver(PebbleProcesses):
    """Started by a fork server."""

    name = "pebble (forkserver)"
    start_method = "forkserver"


LIBRARIES = [
    JoblibThreads,
    JoblibProcesses,
    MpireThreads,
    MpireFork,
    MpireForkserver,
    PebbleThreads,
    PebbleFork,
    PebbleForkserver,
]
