"""The limit: what is left when everything that makes a pool is taken away.

A put and a get for threads, a pickle over a pipe for processes, with one worker
that does nothing but read, call and answer: no errors, no cancelling, no second
worker, no death that anybody would notice.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, repeat
from queue import SimpleQueue
from typing import Any

from benchmarks.libraries.base import Library
from benchmarks.libraries.pipe import receive, send, serve

# What one worker without a pool can be compared in.
_COMPARED = frozenset({"submit", "map", "map-tuned", "round-trip", "start"})
# Messages on their way at once: far fewer bytes than a pipe holds, or both ends would wait for room.
_SMALL_OUTSTANDING, _LARGE_OUTSTANDING = 32, 4


class BareThread(Library):
    """A thread behind a queue."""

    name = "a put and a get"
    kind = "thread"
    role = "limit"
    only = _COMPARED
    in_quick = True

    def open(self, workers: int) -> None:
        del workers
        self._calls: SimpleQueue[Any] = SimpleQueue()
        self._results: SimpleQueue[Any] = SimpleQueue()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def close(self) -> None:
        self._calls.put(None)
        self._thread.join()

    def _work(self) -> None:
        get, put = self._calls.get, self._results.put
        while (call := get()) is not None:
            fn, args = call
            put(fn(*args))

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        self._calls.put((fn, args))
        return self._results.get()

    def submit_many(self, fn: Callable[[], Any], count: int) -> list[Any]:
        # In this thread: what a put, a get and the call cost, and no switch between threads.
        queue: SimpleQueue[Any] = SimpleQueue()
        put, get = queue.put, queue.get
        done = []
        for _ in range(count):
            put((fn, ()))
            called, args = get()
            done.append(called(*args))
        return done

    def gather(self, handles: list[Any]) -> list[Any]:
        return handles

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        return list(map(fn, items))

    def map_tuned(
        self, fn: Callable[[Any], Any], items: Iterable[Any], chunk: int
    ) -> Iterable[Any]:
        del chunk
        return list(map(fn, items))


class BarePipe(Library):
    """A forked process behind two pipes, one message a task."""

    name = "a pickle over a pipe (fork)"
    kind = "process"
    role = "limit"
    start_method = "fork"
    only = _COMPARED
    in_quick = True

    def open(self, workers: int) -> None:
        del workers
        task_r, self._write = os.pipe()
        self._read, result_w = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._write)
            serve(task_r, result_w)
        os.close(task_r)
        os.close(result_w)

    def close(self) -> None:
        os.close(self._write)
        os.waitpid(self._pid, 0)
        os.close(self._read)

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        send(self._write, (fn, args))
        return receive(self._read)

    def submit_many(self, fn: Callable[[], Any], count: int) -> list[Any]:
        return list(self._exchange(((fn, ()) for _ in range(count)), _SMALL_OUTSTANDING))

    def gather(self, handles: list[Any]) -> list[Any]:
        return handles

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        return self.map_tuned(fn, items, 1000)

    def map_tuned(
        self, fn: Callable[[Any], Any], items: Iterable[Any], chunk: int
    ) -> Iterable[Any]:
        chunks = ((_map_chunk, (fn, batch)) for batch in _batches(items, chunk))
        done = self._exchange(chunks, _LARGE_OUTSTANDING)
        return [result for results in done for result in results]

    def _exchange(self, calls: Iterator[tuple[Any, tuple[Any, ...]]], most: int) -> Iterator[Any]:
        waiting = 0
        for call in islice(calls, most):
            send(self._write, call)
            waiting += 1
        for call in calls:
            yield receive(self._read)
            send(self._write, call)
        for _ in range(waiting):
            yield receive(self._read)


class BareBatches(BarePipe):
    """The same with a hundred tasks a message."""

    name = "a pickle of 100 over a pipe (fork)"
    only = frozenset({"submit"})

    def submit_many(self, fn: Callable[[], Any], count: int) -> list[Any]:
        calls = ((_call_each, (batch,)) for batch in _batches(repeat((fn, ()), count), 100))
        done = self._exchange(calls, _LARGE_OUTSTANDING)
        return [result for results in done for result in results]


class BareSpawn(BarePipe):
    """A fresh Python that imports next to nothing."""

    name = "a lean Python over a pipe (spawn)"
    start_method = "spawn"
    only = frozenset({"start"})

    _CODE = (
        "import sys; sys.path[:] = {path!r}; "
        "from benchmarks.libraries.pipe import serve; serve({task_r}, {result_w})"
    )

    def open(self, workers: int) -> None:
        del workers
        task_r, self._write = os.pipe()
        self._read, result_w = os.pipe()
        code = self._CODE.format(path=[os.getcwd(), *sys.path], task_r=task_r, result_w=result_w)
        command = [sys.executable, "-S", "-c", code]
        self._process = subprocess.Popen(command, pass_fds=(task_r, result_w))
        os.close(task_r)
        os.close(result_w)

    def close(self) -> None:
        os.close(self._write)
        self._process.wait()
        os.close(self._read)


def _batches(items: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    source = iter(items)
    return iter(lambda: tuple(islice(source, size)), ())


def _map_chunk(fn: Callable[[Any], Any], items: tuple[Any, ...]) -> list[Any]:
    return list(map(fn, items))


def _call_each(calls: tuple[Any, ...]) -> list[Any]:
    return [fn(*args) for fn, args in calls]


LIBRARIES = [BareThread, BarePipe, BareBatches, BareSpawn]
