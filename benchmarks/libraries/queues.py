"""Queues with task_done and join: one producer, one consumer, each item marked done."""

from __future__ import annotations

import os
import pickle
import queue
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

from benchmarks.libraries.base import Library, spawn_context


class Queueing(Library):
    """A queue and a consumer; the pool calls are not for them."""

    def make(self) -> Any:
        """Make the queue."""
        raise NotImplementedError

    def open(self, workers: int) -> None:
        del workers

    def close(self) -> None:
        pass

    def pass_items(self, count: int) -> float:
        items = self.make()
        consumer = self.start(items)
        items.put(0)
        items.join()  # the consumer is there
        put = items.put
        began = perf_counter()
        for number in range(1, count + 1):
            put(number)
        items.join()
        took = perf_counter() - began
        put(None)
        consumer.join(10)
        return took

    def start(self, items: Any) -> Any:
        """Start the consumer."""
        raise NotImplementedError


class BetweenThreads(Queueing):
    """The consumer is a thread."""

    kind = "thread"

    def start(self, items: Any) -> Any:
        consumer = threading.Thread(target=consume, args=(items,))
        consumer.start()
        return consumer


class BetweenProcesses(Queueing):
    """The consumer is a process, started as multiprocessing does on all systems."""

    kind = "process"

    def start(self, items: Any) -> Any:
        consumer = spawn_context().Process(target=consume, args=(items,))
        consumer.start()
        return consumer


def consume(items: Any) -> None:
    """Take items and mark them done, up to a None."""
    get, done = items.get, items.task_done
    while get() is not None:
        done()
    done()


class OursThread(BetweenThreads):
    """workpool.Queue between threads."""

    name = "workpool.Queue"
    role = "ours"
    package = "workpool"
    in_quick = True

    def make(self) -> Any:
        from workpool import Queue

        return Queue()


class StdlibThread(BetweenThreads):
    """queue.Queue."""

    name = "queue.Queue"
    in_quick = True

    def make(self) -> Any:
        return queue.Queue()


class LimitThread(BetweenThreads):
    """queue.SimpleQueue, which knows nothing of items being done, put and got in one thread."""

    name = "SimpleQueue, one thread, no join"
    role = "limit"
    in_quick = True

    def pass_items(self, count: int) -> float:
        items: queue.SimpleQueue[int] = queue.SimpleQueue()
        put, get = items.put, items.get
        began = perf_counter()
        for number in range(count):
            put(number)
            get()
        return perf_counter() - began


class OursProcess(BetweenProcesses):
    """workpool.Queue between processes."""

    name = 'workpool.Queue(scope="process")'
    role = "ours"
    package = "workpool"
    in_quick = True

    def make(self) -> Any:
        from workpool import Queue

        return Queue(scope="process")


class StdlibProcess(BetweenProcesses):
    """multiprocessing.JoinableQueue."""

    name = "multiprocessing.JoinableQueue"
    in_quick = True

    def make(self) -> Any:
        return spawn_context().JoinableQueue()


class ManagerProcess(BetweenProcesses):
    """A queue.Queue in a manager's process."""

    name = "multiprocessing.Manager().Queue"

    def make(self) -> Any:
        self._manager = spawn_context().Manager()
        return self._manager.Queue()

    def close(self) -> None:
        self._manager.shutdown()


class LimitProcess(BetweenProcesses):
    """Pickles written to a pipe that a process reads; it answers once, at the end."""

    name = "a pickle over a pipe, no join"
    role = "limit"
    in_quick = True

    def pass_items(self, count: int) -> float:
        reader, writer = os.pipe()
        answer_r, answer_w = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(writer)
            _drain(reader, lambda: os.write(answer_w, b"!"), count)
            os._exit(0)
        began = perf_counter()
        for number in range(count):
            os.write(writer, pickle.dumps(number))
        os.read(answer_r, 1)
        took = perf_counter() - began
        os.waitpid(pid, 0)
        for fd in (reader, writer, answer_r, answer_w):
            os.close(fd)
        return took


def _drain(reader: int, answer: Callable[[], object], count: int) -> None:
    with open(reader, "rb") as file:
        for _ in range(count):
            pickle.load(file)
    answer()


LIBRARIES = [
    OursThread,
    StdlibThread,
    LimitThread,
    OursProcess,
    StdlibProcess,
    ManagerProcess,
    LimitProcess,
]
