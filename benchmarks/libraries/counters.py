"""One number that several workers add to at once, each step seen whole by all."""

from __future__ import annotations

import threading
from itertools import count as counting
from time import perf_counter
from typing import Any

from benchmarks.libraries.base import Library, spawn_context


class Counting(Library):
    """A counter and its workers; each adds to it in a loop of its own."""

    def make(self) -> Any:
        """Make the counter: something with ``add(1)``."""
        raise NotImplementedError

    def value(self, counter: Any) -> int:
        """Read it."""
        return int(counter.value)

    def open(self, workers: int) -> None:
        del workers

    def close(self) -> None:
        pass

    def count_up(self, workers: int, each: int) -> float:
        counter = self.make()
        context = spawn_context()
        threads = self.kind == "thread"
        gate: Any = threading.Barrier(workers + 1) if threads else context.Barrier(workers + 1)
        start: Any = threading.Thread if threads else context.Process
        crew = [start(target=add_ones, args=(counter, each, gate)) for _ in range(workers)]
        for one in crew:
            one.start()
        gate.wait()
        began = perf_counter()
        gate.wait()
        took = perf_counter() - began
        for one in crew:
            one.join()
        counted = self.value(counter)
        if counted != workers * each:
            message = f"{self.name} counted {counted} instead of {workers * each}"
            raise AssertionError(message)
        return took


def add_ones(counter: Any, each: int, gate: Any) -> None:
    """Add 1 so often, together with the others."""
    add = counter.add
    gate.wait()
    for _ in range(each):
        add(1)
    gate.wait()


class Locked:
    """A number and the lock that guards it, of whatever make."""

    def __init__(self, lock: Any, cell: Any) -> None:
        self._lock = lock
        self._cell = cell

    def add(self, n: int) -> int:
        with self._lock:
            new: int = self._cell.value + n
            self._cell.value = new
        return new

    @property
    def value(self) -> int:
        return int(self._cell.value)


class Cell:
    """A plain number."""

    value = 0


class OursThread(Counting):
    """workpool.Counter between threads."""

    name = "workpool.Counter"
    kind = "thread"
    role = "ours"
    package = "workpool"
    in_quick = True

    def make(self) -> Any:
        from workpool import Counter

        return Counter()


class LockThread(Counting):
    """threading.Lock and an integer."""

    name = "threading.Lock and an int"
    kind = "thread"
    in_quick = True

    def make(self) -> Any:
        return Locked(threading.Lock(), Cell())


class LimitThread(Counting):
    """itertools.count, which gives each number once and cannot add 2."""

    name = "itertools.count"
    kind = "thread"
    role = "limit"
    in_quick = True

    def make(self) -> Any:
        counter = counting(1)
        step = Cell()
        step.add = lambda _: next(counter)  # type: ignore[attr-defined]  # any object with these two will do
        step.numbers = counter  # type: ignore[attr-defined]  # any object with these two will do
        return step

    def value(self, counter: Any) -> int:
        return int(next(counter.numbers)) - 1


class OursProcess(Counting):
    """workpool.Counter between processes."""

    name = 'workpool.Counter(scope="process")'
    kind = "process"
    role = "ours"
    package = "workpool"
    in_quick = True

    def make(self) -> Any:
        from workpool import Counter

        return Counter(scope="process")


class RawProcess(Counting):
    """multiprocessing.Lock and a RawValue: the fastest that the standard library has."""

    name = "multiprocessing Lock and RawValue"
    kind = "process"
    in_quick = True

    def make(self) -> Any:
        context = spawn_context()
        return Locked(context.Lock(), context.RawValue("q", 0))


class ValueProcess(Counting):
    """multiprocessing.Value, with the lock that it brings."""

    name = "multiprocessing.Value"
    kind = "process"

    def make(self) -> Any:
        value = spawn_context().Value("q", 0)
        return Locked(value.get_lock(), value)


class Updating:
    """A `workpool.Shared` number, counted up by its general means."""

    def __init__(self, shared: Any) -> None:
        self._shared = shared

    def add(self, n: int) -> int:
        new: int = self._shared.update(lambda value: value + n)
        return new

    @property
    def value(self) -> int:
        return int(self._shared.get())


class SharedThread(OursThread):
    """workpool.Shared between threads, for any value and any change of it."""

    name = "workpool.Shared"
    in_quick = False

    def make(self) -> Any:
        from workpool import Shared

        return Updating(Shared(0))


class SharedProcess(OursProcess):
    """workpool.Shared between processes, for any value and any change of it."""

    name = 'workpool.Shared(scope="process")'
    in_quick = False

    def make(self) -> Any:
        from workpool import Shared

        return Updating(Shared(0, scope="process"))


LIBRARIES = [
    OursThread,
    LockThread,
    LimitThread,
    OursProcess,
    RawProcess,
    ValueProcess,
    SharedThread,
    SharedProcess,
]
