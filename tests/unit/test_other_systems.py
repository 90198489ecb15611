"""The process backend where the system has less to offer: no pidfd, epoll, memfd, futex or robust mutex.

The interpreters of these tests, workers and keepers among them, are told at their
start that this is not Linux, and lose what other POSIX systems do not have. So
every way round is the one that is taken, not only the one under test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.support.gates import DEADLINE, Gate
from tests.support.queues import until
from tests.support.scripts import ROOT

METHODS = ["forkserver", "spawn", "fork"]

LESS = """\
import os, select, sys
for module, names in {
    os: ("memfd_create", "pidfd_open", "posix_fallocate", "sched_getaffinity", "process_cpu_count"),
    select: ("epoll",),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
sys.platform = "darwin"
"""

PRELUDE = """\
import os, signal, sys
from tests.support import tasks
from tests.support.gates import say, stop
from workpool import Pool
METHOD, GATE = sys.argv[1:]
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, gate: Gate) -> Generator[Start]:
    """Give a starter of programs that see less of the system; after the test they are ended."""
    (tmp_path / "sitecustomize.py").write_text(LESS, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    programs: list[subprocess.Popen[str]] = []

    def start(script: str, method: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                "-c",
                PRELUDE + textwrap.dedent(script),
                method,
                gate.path,
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        programs.append(program)
        return program

    yield start
    for program in programs:
        with program:  # or one that hangs is heard of in a later test, as a ResourceWarning
            program.kill()


@pytest.fixture
def gate() -> Generator[Gate]:
    """Give a gate, which is opened after the test."""
    with Gate() as gate:
        yield gate


def lines_of(program: subprocess.Popen[str]) -> list[str]:
    """Wait for a program's end and give what it printed."""
    printed, _ = program.communicate(timeout=DEADLINE)
    return printed.splitlines()


def test_what_these_tests_take_away_is_gone(start: Start) -> None:
    """In programs of these tests, and in their workers, every way round is taken."""
    script = """
        def ways():
            from workpool.ipc import futex, mutex, nameless, watch
            return watch.CAN_SHARE, futex._FUTEX, nameless.MEMFD, mutex.AVAILABLE, hasattr(os, "pidfd_open")

        print(ways())
        with Pool(1, backend="process", start_method=METHOD) as pool:
            print(pool.submit(ways).result())
    """
    for method in METHODS:
        assert lines_of(start(script, method)) == ["(False, None, False, False, False)"] * 2


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_keeps_its_promises(start: Start, method: str) -> None:
    """Results, errors, chunks, large values, deaths and time limits are what they are on Linux."""
    script = """
        from workpool import TimeLimitExceeded, WorkerLost

        def outcome(task):
            try:
                return task.result(20)
            except Exception as error:
                return type(error).__name__

        with Pool(2, backend="process", start_method=METHOD, max_tasks_per_worker=5000) as pool:
            print(outcome(pool.submit(tasks.double, 3)), outcome(pool.submit(tasks.fail_if_odd, 3)))
            print(sum(pool.map(tasks.double, range(10_000))))
            print(outcome(pool.submit(tasks.echo, b"x" * 3_000_000)) == b"x" * 3_000_000)
            print(outcome(pool.submit(tasks.die)), outcome(pool.submit(tasks.double, 4)))
            print(outcome(pool.options(time_limit=0.2).submit(stop, GATE)))
            print(outcome(pool.submit(tasks.double, 5)))
    """
    assert lines_of(start(script, method)) == [
        "6 ValueError",
        "99990000",
        "True",
        "WorkerLost 8",
        "TimeLimitExceeded",
        "10",
    ]


@pytest.mark.parametrize("method", METHODS)
def test_shared_state_keeps_its_promises(start: Start, method: str) -> None:
    """Counts are not lost, values are whole, waits are woken, and a dead owner's lock is free."""
    script = """
        def count(seen, n):
            for _ in range(n):
                seen.add()

        def append(words, word):
            words.update(lambda old: [*old, word])

        def pass_on(event, jobs, n):
            event.wait(20)
            jobs.put(n)

        def die_with(lock):
            lock.acquire()
            os.kill(os.getpid(), signal.SIGKILL)

        with Pool(2, backend="process", start_method=METHOD) as pool:
            seen, words, lock, event, jobs = (
                pool.counter(), pool.shared([]), pool.lock(), pool.event(), pool.queue(1)
            )
            for n in (1, 2):
                pool.submit(count, seen, 300)
                pool.submit(append, words, n)
                pool.submit(pass_on, event, jobs, n)
            event.set()
            print(sorted([jobs.get(timeout=20), jobs.get(timeout=20)]))
            pool.join(20)
            print(seen.value, sorted(words.get()))
            print(type(pool.submit(die_with, lock).exception(20)).__name__)
            print(lock.acquire(timeout=20), lock.owner_died)
            lock.release()
    """
    assert lines_of(start(script, method)) == [
        "[1, 2]",
        "600 [1, 2]",
        "WorkerLost",
        "True True",
    ]


@pytest.mark.parametrize("method", METHODS)
def test_busy_workers_end_with_a_parent_that_is_killed(
    start: Start, gate: Gate, method: str
) -> None:
    """Nothing but the keeper sees to it, when the worker hears nothing and the kernel tells nothing."""
    script = """
        def hold_the_gil(gate):
            say(gate, os.getpid())
            import re
            re.match("(a+)+$", "a" * 64 + "b")  # runs for years, in C

        pool = Pool(1, backend="process", start_method=METHOD)
        pool.submit(hold_the_gil, GATE).result()
    """
    program = start(script, method)
    worker = int(gate.arrival())
    program.kill()
    assert lines_of(program) == []
    until(lambda: not alive(worker))


def alive(pid: int) -> bool:
    """Tell whether a process still runs; one that waits to be fetched by init does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}
