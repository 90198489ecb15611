"""workpool, on threads and on processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from benchmarks.libraries.base import Library


class Workpool(Library):
    """Pool with its own settings."""

    role = "ours"
    package = "workpool"
    imports = "import workpool"
    first_use = "from workpool import Pool"
    pool: Any

    def load(self) -> None:
        import workpool

        self._settings: dict[str, Any] = {"backend": self.kind}
        if self.kind == "process" and self.start_method != "forkserver":
            self._settings["start_method"] = self.start_method
        self._make = workpool.Pool

    def open(self, workers: int) -> None:
        self.pool = self._make(workers, **self._settings)

    def close(self) -> None:
        self.pool.shutdown()

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.pool.submit(fn, *args).result()

    def submit_many(self, fn: Callable[[], Any], count: int) -> list[Any]:
        submit = self.pool.submit
        return [submit(fn) for _ in range(count)]

    def gather(self, handles: list[Any]) -> list[Any]:
        return [task.result() for task in handles]

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.map(fn, items)
        return results

    def map_tuned(
        self, fn: Callable[[Any], Any], items: Iterable[Any], chunk: int
    ) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.map(fn, items, chunksize=chunk)
        return results

    def stream(self, fn: Callable[[Any], Any], items: Iterator[Any]) -> Iterator[Any]:
        return iter(self.pool.map(fn, items))

    def call_limited(self, fn: Callable[..., Any], *args: Any, limit: float) -> None:
        with suppress(TimeoutError):
            self.pool.options(time_limit=limit).submit(fn, *args).result()


class WorkpoolThread(Workpool):
    """Threads."""

    name = "workpool"
    kind = "thread"
    in_quick = True


class WorkpoolProcess(Workpool):
    """Processes, started as it does by itself: what the summary speaks of."""

    name = "workpool (forkserver)"
    kind = "process"
    start_method = "forkserver"
    in_quick = True

    def call_again(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.pool.options(retries=1).submit(fn, *args).result()


class WorkpoolSpawn(WorkpoolProcess):
    """Processes, each started from nothing."""

    name = "workpool (spawn)"
    start_method = "spawn"
    only = frozenset({"start"})
    in_quick = False


class WorkpoolFork(WorkpoolProcess):
    """Processes forked from the parent."""

    name = "workpool (fork)"
    start_method = "fork"
    only = frozenset({"start"})
    in_quick = False


LIBRARIES = [WorkpoolThread, WorkpoolProcess, WorkpoolSpawn, WorkpoolFork]
