"""A worker, a keeper or a clock cannot be started: whoever waits is told, nothing stays open, and later it works.

tests/faults/test_limits.py holds the same against limits of the system. Here a start
fails when the test says so, at each place where one can.
"""

from __future__ import annotations

import errno
import mmap
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate
from workpool import NotPicklable, Pool, TimeLimitExceeded, WorkerLost
from workpool.backends.process import starts
from workpool.ipc import keeper, launch, requests, worker

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="keepers are of POSIX systems")

NONE_LEFT = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def refuse(*_: object, **__: object) -> Any:
    raise NONE_LEFT


@pytest.fixture
def gate() -> Generator[Gate]:
    """Give a gate, which is opened after the test."""
    with Gate() as made:
        yield made


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], pytest.MonkeyPatch]:
    """Give a call from which on no thread of the library can be started."""

    def begin() -> pytest.MonkeyPatch:
        start = threading.Thread.start

        def refuse_ours(thread: threading.Thread) -> None:
            if thread.name.startswith("test-"):
                start(thread)
                return
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse_ours)
        return monkeypatch

    return begin


# ------------------------------------------------------------------------- processes


def test_what_waits_is_told_when_no_process_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any worker the tasks that wait fail with the reason; with processes again, tasks run."""
    with Pool(2, backend="process") as pool:
        with monkeypatch.context() as none_left:
            none_left.setattr(keeper.Keeper, "start_worker", refuse)
            error = pool.submit(tasks.double, 1).exception(DEADLINE)
            assert isinstance(error, WorkerLost)
            assert error.__cause__ is NONE_LEFT
            assert "could start no worker process" in str(error)
            with pytest.raises(WorkerLost):
                list(pool.map(tasks.double, range(3)))
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


def test_those_that_are_there_do_the_work_of_those_that_are_not(
    monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    """A second worker that cannot be started costs no task: the first one runs them all."""
    with Pool(2, backend="process") as pool:
        held = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        monkeypatch.setattr(keeper.Keeper, "start_worker", refuse)
        queued = [pool.submit(tasks.double, n) for n in range(3)]
        gate.open()
        assert held.result(DEADLINE) == 1
        assert [task.result(DEADLINE) for task in queued] == [0, 2, 4]


def test_what_waits_is_not_left_to_those_that_are_there(
    monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    """The one that is there may wait for that very task: the system is asked again, twice here, and nobody submits."""
    monkeypatch.setattr(starts, "_HIRE_AGAIN", 0.01)
    start, refused = keeper.Keeper.start_worker, list[int]()

    def refuse_twice(*args: Any) -> Any:
        if len(refused) < 2:
            refused.append(1)
            raise NONE_LEFT
        return start(*args)

    with Pool(2, backend="process") as pool:
        held = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        monkeypatch.setattr(keeper.Keeper, "start_worker", refuse_twice)
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
        gate.open()
        assert held.result(DEADLINE) == 1
    assert len(refused) == 2


def test_the_system_is_asked_less_and_less_often() -> None:
    """Until it has a process to give."""
    asking = starts.Starts()
    assert [asking.refused() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    asking.started()
    assert asking.refused() == 1.0


@pytest.mark.parametrize("which", ["watcher", "worker"])
def test_a_fork_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    """Neither the process between nor the worker itself can be forked: the task fails with the system's reason."""
    fork, parent = os.fork, os.getpid()

    def fork_one() -> int:
        if which == "watcher" or os.getpid() != parent:
            raise NONE_LEFT
        return fork()

    with Pool(1, backend="process", start_method="fork") as pool:
        with monkeypatch.context() as none_left:
            none_left.setattr(os, "fork", fork_one)
            error = pool.submit(tasks.double, 1).exception(DEADLINE)
        assert isinstance(error, WorkerLost)
        assert isinstance(error.__cause__, OSError)
        assert os.strerror(errno.EAGAIN) in str(error)
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


@pytest.mark.parametrize("part", ["initargs", "worker_context"])
def test_a_setup_that_cannot_travel_is_refused_by_name(part: str) -> None:
    """The pool is not made, and the error says which part it is."""
    settings: dict[str, Any] = {"initializer": print, part: (threading.Lock(),)}
    if part == "worker_context":
        settings[part] = threading.Lock().acquire  # what is asked for it has to be callable
    with pytest.raises(NotPicklable, match=f"{part} of .* cannot go to a process") as refused:
        Pool(1, backend="process", **settings)
    assert refused.value.part == part


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("step", ["journal", "control", "boot"])
def test_a_start_that_fails_late_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch, method: Any, step: str
) -> None:
    """Without memory to map, or to say the first word with, no worker and no descriptor stays; the leak check looks."""
    told: list[int] = []

    def refuse_word(handle: launch.WorkerHandle, _: object) -> None:
        told.append(handle.pid)
        raise NONE_LEFT

    where = {
        "journal": (launch, "Journal", refuse),
        "control": (mmap, "mmap", refuse),
        "boot": (launch.WorkerHandle, "post", refuse_word),
    }
    with Pool(1, backend="process", start_method=method) as pool:
        with monkeypatch.context() as none_left:
            none_left.setattr(*where[step])
            error = pool.submit(tasks.double, 1).exception(DEADLINE)
        assert isinstance(error, WorkerLost)
        assert error.__cause__ is NONE_LEFT
        for pid in told:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


# ---------------------------------------------------------------------------- keepers


@pytest.fixture
def fresh() -> Generator[keeper.Keeper]:
    """Give a keeper of the test's own, which has ended after it."""
    made = keeper.Keeper()
    yield made
    made._forget()  # the end of its socket is its end
    if made._pid:
        with suppress(ChildProcessError):
            os.waitpid(made._pid, 0)


def broken_socket() -> int:
    """Give our end of a socket at whose other end nobody is any more."""
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours.detach()


def test_a_keeper_that_was_killed_has_a_successor(
    fresh: keeper.Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its death is seen before or after the request is sent, the next call has another one."""
    fresh.warm()
    first = fresh._pid
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    fresh.warm()
    second = fresh._pid
    assert second != first
    ensure = fresh._ensure

    def ensure_one_that_is_gone() -> int:
        monkeypatch.undo()
        ensure()
        os.close(fresh._fd)
        fresh._fd = broken_socket()
        os.kill(second, signal.SIGKILL)
        os.waitid(os.P_PID, second, os.WEXITED | os.WNOWAIT)
        return fresh._fd

    monkeypatch.setattr(fresh, "_ensure", ensure_one_that_is_gone)
    with pytest.raises(keeper.KeeperLost):
        fresh.start_worker(keeper.FORK, [])
    pid, status, third = fresh.start_worker(keeper.FORK, [])
    assert pid > 0
    assert third == fresh._pid not in {first, second}
    assert keeper.read_status(status) is not None  # nothing to run with: it ends at once
    os.close(status)


def test_a_keeper_that_is_gone_leaves_nothing_open(
    fresh: keeper.Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when somebody else has waited for it: the start fails, and leaves no descriptor open."""

    def ensure() -> int:
        fresh._fd, fresh._pid = broken_socket(), os.getpid()  # which is no child of this process
        return fresh._fd

    monkeypatch.setattr(fresh, "_ensure", ensure)
    with pytest.raises(keeper.KeeperLost):
        fresh.start_worker(keeper.FORK, [])


def test_a_keeper_that_dies_at_the_request_is_told(
    fresh: keeper.Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took the request and died: its status pipe ends without a pid."""
    ours, theirs = socket.socketpair()

    def send(*_: object) -> None:
        theirs.close()

    monkeypatch.setattr(fresh, "_ensure", ours.fileno)
    monkeypatch.setattr(requests, "send", send)
    with ours, pytest.raises(OSError, match=r"could not be started: .* died"):
        fresh.start_worker(keeper.FORK, [])


def test_a_keeper_that_cannot_be_started_leaves_nothing_open(
    fresh: keeper.Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's reason is the error; whoever only warms it is not told."""
    monkeypatch.setattr(keeper, "run_python", refuse)
    fresh.warm()
    with pytest.raises(BlockingIOError):
        fresh.start_worker(keeper.SPAWN, [])


def test_more_descriptors_than_can_be_sent_are_refused(fresh: keeper.Keeper) -> None:
    """A worker is given a bounded number of descriptors, and the error says how many."""
    with pytest.raises(OSError, match="250 file descriptors at most, not 300"):
        fresh.start_worker(keeper.FORK, list(range(300)))


@pytest.mark.parametrize("method", [keeper.FORK, keeper.SPAWN])
def test_a_keeper_tells_why_it_could_start_nothing(
    method: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the keeper's side a failed start is minus its errno in the status pipe, which ends with that."""
    monkeypatch.setattr(os, "fork", refuse)
    monkeypatch.setattr(keeper, "_spawn", refuse)
    status_r, status_w = os.pipe()
    given_r, given_w = os.pipe()
    workers: dict[int, int] = {}
    keeper._start(None, method, [status_w, given_w], workers, [])
    assert keeper.read_status(status_r) == -errno.EAGAIN
    assert keeper.read_status(status_r) is None
    assert os.read(given_r, 1) == b""  # what was given is closed, too
    assert workers == {}
    os.close(status_r)
    os.close(given_r)


# ---------------------------------------------------------------------------- threads


def test_a_task_whose_clock_cannot_be_started_does_not_begin(
    no_threads: Callable[[], pytest.MonkeyPatch],
) -> None:
    """A time limit that nobody would keep is an error of the task or the item, and the pool goes on."""
    with Pool(1) as pool:
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
        limited = pool.options(time_limit=9.0)
        patched = no_threads()
        error = limited.submit(tasks.double, 1).exception(DEADLINE)
        assert isinstance(error, WorkerLost)
        assert "was not begun: the thread that would keep its time limit" in str(error)
        outcomes = list(limited.map(tasks.double, range(3), return_exceptions=True))
        assert [type(outcome) for outcome in outcomes] == [WorkerLost] * 3
        patched.undo()
        assert limited.submit(tasks.double, 2).result(DEADLINE) == 4


def test_a_thread_that_is_written_off_and_cannot_be_replaced(
    no_threads: Callable[[], pytest.MonkeyPatch], gate: Gate
) -> None:
    """What waits behind a task that is given up fails with the reason; later tasks find threads again."""
    with Pool(1) as pool:
        task = pool.options(time_limit=0.2).submit(tasks.hold, gate.path, 1)
        queued = pool.submit(tasks.double, 1)
        gate.arrival()
        patched = no_threads()
        assert isinstance(task.exception(DEADLINE), TimeLimitExceeded)
        error = queued.exception(DEADLINE)
        assert isinstance(error, WorkerLost)
        assert "could start no worker" in str(error)
        patched.undo()
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
        gate.open()


def test_without_a_clock_the_next_attempt_comes_at_once(
    no_threads: Callable[[], pytest.MonkeyPatch],
) -> None:
    """A pause before the next attempt that nobody could end is left out: too soon is better than never."""
    with Pool(1) as pool:
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
        view = pool.options(retries=2, retry_on=LookupError, backoff=1000.0)
        patched = no_threads()
        assert view.submit(tasks.fail_until, 3).result(DEADLINE) == 3
        patched.undo()


@pytest.mark.parametrize("end", ["kill", "break"])
def test_what_pauses_ends_with_its_pool(end: str) -> None:
    """A task and an item that wait for their next attempt are settled at once when there will be none."""
    with Pool(1) as pool:
        view = pool.options(retries=1, retry_on=LookupError, backoff=1000.0)
        task = view.submit(tasks.fail_at, 1)
        results = view.map(tasks.fail_at, [1], chunksize=2, return_exceptions=True)
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
        reason = WorkerLost("no more workers")
        if end == "kill":
            pool.kill()
            assert task.cancelled()
        else:
            pool._scheduler.fail_all(reason, for_good=True)
            assert str(task.exception(DEADLINE)) == str(reason)
            with pytest.raises(WorkerLost):
                list(results)
        pool.join(DEADLINE)


@pytest.mark.parametrize("what", ["the journal", "the boot", "a thread"])
def test_a_worker_that_cannot_have_what_it_needs_is_no_crash(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what it has not, the task fails with that, and the next one has a worker as soon as there is more."""
    short = tmp_path / "short"
    short.touch()
    errors: dict[str, Exception] = {
        "the journal": OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        "the boot": MemoryError("for the boot"),
        "a thread": RuntimeError("can't start new thread"),
    }
    name = {"the journal": "__init__", "the boot": "_boot", "a thread": "_start_control"}[what]
    usual = getattr(worker.WorkerProcess, name)

    def refused(*args: Any) -> Any:
        if short.exists():
            raise errors[what]
        return usual(*args)

    monkeypatch.setattr(worker.WorkerProcess, name, refused)
    with Pool(1, backend="process", start_method="fork") as pool:
        for _ in range(10):  # as crashes, they would be too many
            error = pool.submit(tasks.double, 1).exception(DEADLINE)
            assert isinstance(error, WorkerLost)
            assert f"{errors[what]}. Free processes" in str(error)
        short.unlink()
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
        assert pool.stats().lost == 0
