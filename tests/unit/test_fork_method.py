"""Workers that are forked from this very process, as start_method="fork" asks for."""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gates import DEADLINE, in_background
from tests.support.holding import held_elsewhere
from tests.support.tasks import double
from workpool import Pool, _compat
from workpool.ipc import journal
from workpool.situation import here


class Unpicklable:
    """What cannot travel by pickle."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


_known: dict[str, object] = {}


def look_up(name: str) -> str:
    return type(_known[name]).__name__


def test_what_the_parent_has_in_memory_is_there() -> None:
    """A worker sees what is in the parent's memory, without a pickle: that is what one forks for."""
    _known["thing"] = Unpicklable()
    try:
        with Pool(1, backend="process", start_method="fork") as pool:
            assert pool.submit(look_up, "thing").result(timeout=20) == "Unpicklable"
    finally:
        _known.clear()


# ------------------------------------------------------------------ what is not the worker's

context = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def forks() -> Generator[None]:
    """Say nothing of forks beside threads: they are what is meant here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        yield


def _forked() -> Pool:
    return Pool(1, backend="process", start_method="fork")


def test_daemons_of_multiprocessing_are_not_the_workers_to_end() -> None:
    """They are the program's children: a worker that leaves in order lets them run."""
    stay, leave = context.Pipe(duplex=False)
    daemon = context.Process(target=stay.recv, daemon=True)
    daemon.start()
    try:
        with _forked() as pool:
            assert pool.submit(double, 1).result(DEADLINE) == 2
        assert daemon.exitcode is None
        leave.send("now")
        daemon.join(DEADLINE)
        assert daemon.exitcode == 0
    finally:
        daemon.kill()
        daemon.join(DEADLINE)
        daemon.close()
        stay.close()
        leave.close()


def _put(name: str, item: int) -> None:
    queue: Any = _known[name]
    queue.put(item)


def test_a_queue_of_multiprocessing_that_is_in_use_works_there() -> None:
    """Its feeder is a thread of the program; the worker starts one of its own."""
    queue: Any = context.Queue()
    _known["queue"] = queue
    try:
        queue.put(1)
        assert queue.get(timeout=DEADLINE) == 1
        with _forked() as pool:
            pool.submit(_put, "queue", 2).result(DEADLINE)
            assert queue.get(timeout=DEADLINE) == 2
    finally:
        _known.clear()
        queue.close()
        queue.join_thread()


class _Slow(io.FileIO):
    """A file that takes its time, when it is written to in the process that opened it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w")
        self.pid = os.getpid()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def write(self, text: Any) -> int:
        self.begun.set()
        if os.getpid() == self.pid:
            self.go_on.wait(DEADLINE)
        return super().write(text)


def _print_and_log(text: str) -> None:
    print(text)
    logging.getLogger("of a test").warning(text)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize("captures", [False, True], ids=["plain", "routed"])
def test_an_output_stream_may_be_in_use(
    name: str, captures: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread of the program holds its lock for as long as it writes: a worker writes all the same, and ends."""
    path = tmp_path / "output"
    raw = _Slow(path)
    stream = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", line_buffering=True)
    monkeypatch.setattr(sys, name, stream)
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("of a test")
    logger.addHandler(handler)
    with Pool(1, backend="thread", capture=captures) as other:
        assert other.submit(double, 1).result(DEADLINE) == 2
        writing = in_background(stream.write, "the program\n")
        try:
            assert raw.begun.wait(DEADLINE)
            pool = _forked()
            pool.submit(_print_and_log, "the worker").result(DEADLINE)
            in_background(pool.shutdown).result()
            lines = path.read_text().splitlines()
            assert lines == ["the worker"] * (2 if name == "stdout" else 1)
        finally:
            raw.go_on.set()
            writing.result()
            logger.removeHandler(handler)
    stream.close()
    assert path.read_text().splitlines()[-1] == "the program"


@pytest.mark.parametrize("how", ["none", "closed", "detached"])
def test_an_output_stream_may_be_gone(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to replace, and a worker starts all the same."""
    stream: Any = (tmp_path / "output").open("w", encoding="utf-8")
    below = stream.detach() if how == "detached" else stream
    below.close()
    monkeypatch.setattr(sys, "stdout", None if how == "none" else stream)
    with _forked() as pool:
        assert pool.submit(double, 1).result(DEADLINE) == 2


def _whose() -> object:
    return here.worker


def test_what_the_thread_that_forks_knows_of_itself_stays_behind() -> None:
    """A worker's main thread is no driver."""
    with _forked() as pool:
        assert pool.submit(_whose).result(DEADLINE) is None


def _is_held(lock: Any) -> bool:
    taken = lock.acquire(timeout=0)
    if taken:
        lock.release()
    return not taken


def _are_held() -> list[bool]:
    return [_is_held(lock) for lock in (journal._barrier, _of_this_module)]


_of_this_module = _compat.across_forks(_compat.RLock())


@pytest.mark.parametrize("lock", [journal._barrier, _of_this_module], ids=["Lock", "RLock"])
def test_a_lock_of_a_module_may_be_held(lock: Any) -> None:
    """By a thread that is not in the child: there it is free."""
    with held_elsewhere(lock):
        assert _is_held(lock)
        pid = os.fork()
        if not pid:
            os._exit(any(_are_held()))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
