"""Tasks that fork their worker with ``os.fork``: what the child does after the task is no affair of the pool."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import pytest

from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE
from tests.support.scripts import outcome_of
from workpool import Pool
from workpool.situation import current

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PROCESS = Kind("process", frozenset())


def come_back() -> str:
    return "the child's"


def leave_with(code: object) -> NoReturn:
    sys.exit(code)  # type: ignore[arg-type]  # anything may be given


def fail() -> NoReturn:
    raise LookupError("in the child")


def end_at_once() -> NoReturn:
    os._exit(4)


def fork_and(do: Callable[[], Any]) -> Any:
    """Fork; the child does that and comes back. Gives its exit code."""
    pid = os.fork()
    return do() if pid == 0 else end_of(pid)


def end_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


WAYS: list[tuple[Callable[[], Any], int]] = [
    (come_back, 0),
    (partial(leave_with, None), 0),
    (partial(leave_with, 3), 3),
    (partial(leave_with, "a word"), 1),
    (fail, 1),
    (end_at_once, 4),
]


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_its_child_ends_where_the_task_does(method: Any) -> None:
    """Its result, exit or error is no outcome; its exit code is that of a child of multiprocessing."""
    with Pool(1, backend="process", start_method=method) as pool:
        pid = pool.submit(os.getpid).result(DEADLINE)
        for way, code in WAYS:
            assert pool.submit(fork_and, way).result(DEADLINE) == code
        assert list(pool.map(fork_and, [way for way, _ in WAYS])) == [code for _, code in WAYS]
        assert list(pool.map(tasks.double, range(1000))) == list(range(0, 2000, 2))
        assert pool.submit(os.getpid).result(DEADLINE) == pid


def test_its_error_is_printed() -> None:
    """The child tells what ended it, as a program does; also where the pool takes what tasks print."""
    script = """
    from tests.faults.test_copies_of_workers import WAYS, fork_and
    with Pool(1, backend="process", capture=True) as pool:
        for way, _ in WAYS:
            pool.submit(fork_and, way).result(20)
    """
    ended = outcome_of(PROCESS, script)
    assert ended.returncode == 0
    first, *_, last = ended.stderr.splitlines()
    assert (first, last) == ("a word", "LookupError: in the child")


@pytest.mark.parametrize("value", [1, 0.5, "text"], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("way", [0, 4], ids=["comes_back", "fails"])
def test_in_the_middle_of_tiny_calls(value: Any, way: int) -> None:
    """The child of an item that runs in a slice goes no further, and changes no result."""
    items = [value * n for n in range(5000)]
    with Pool(1, backend="process") as pool:
        results = pool.map(partial(fork_at, value * 3000, way), items)
        assert list(results) == items


def fork_at(place: Any, way: int, n: Any) -> Any:
    if n != place:
        return n
    pid = os.fork()
    if pid == 0:
        do, _ = WAYS[way]
        do()
        return type(n)()
    assert end_of(pid) == WAYS[way][1]
    return n


def test_its_child_may_have_threads() -> None:
    """A thread that the child has started, and which is no daemon, ends before the child does."""
    with Pool(1, backend="process") as pool:
        assert pool.submit(fork_with_a_thread).result(DEADLINE) == (b"said", 0)


def fork_with_a_thread() -> Any:
    read, write = os.pipe()
    go_read, go_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_write)

        def say_at_the_end() -> None:
            os.read(go_read, 1)  # until the worker has closed its end
            os.write(write, b"said")

        threading.Thread(target=say_at_the_end).start()
        return None
    for fd in (write, go_read, go_write):
        os.close(fd)
    said = os.read(read, 4)
    os.close(read)
    return said, end_of(pid)


def test_its_child_leaves_others_alone() -> None:
    """What the task has started with multiprocessing works on, also when the child has ended."""
    with Pool(1, backend="process") as pool:
        assert pool.submit(fork_beside_a_daemon).result(DEADLINE) == (0, True, "said", 0)


def fork_beside_a_daemon() -> Any:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=wait_for_a_word, args=(theirs,), daemon=True)
    process.start()
    pid = os.fork()
    if pid == 0:
        return None
    code = end_of(pid)
    alive = process.is_alive()
    ours.send("said")
    word = ours.recv()
    process.join()
    return code, alive, word, process.exitcode


def wait_for_a_word(theirs: Any) -> None:
    theirs.send(theirs.recv())


@contextmanager
def forking_context() -> Generator[list[int]]:
    codes: list[int] = []
    for place in ("before", "after"):
        pid = os.fork()
        if pid == 0:
            if place == "before":
                yield []
            return
        codes.append(end_of(pid))
        if place == "before":
            yield codes


def test_in_an_initializer_or_a_context() -> None:
    """A child that comes back from there is no worker, either."""
    with Pool(
        1, backend="process", initializer=fork_and, initargs=(fail,), worker_context=forking_context
    ) as pool:
        assert pool.submit(codes_so_far).result(DEADLINE) == [0]


def codes_so_far() -> Any:
    return current().resource
