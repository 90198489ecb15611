"""A worker is like the program is when it starts, although the keeper that starts it is older."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.gates import DEADLINE
from tests.support.tasks import double
from workpool import Pool
from workpool._compat import has_interpreters
from workpool.ipc import surroundings
from workpool.ipc.keeper import START_METHODS


def zone() -> tuple[str, int]:
    return time.tzname[0], time.localtime(0).tm_hour


def umask() -> int:
    mine = os.umask(0o077)
    os.umask(mine)
    return mine


def cpus() -> set[int]:
    return os.sched_getaffinity(0)


@pytest.fixture
def older_keeper() -> None:
    """Have a keeper that was started before the test changes anything."""
    with Pool(1, backend="process") as pool:
        assert pool.submit(double, 1).result(DEADLINE) == 2


@contextmanager
def pool_by(method: Any) -> Generator[Pool]:
    with Pool(1, backend="process", start_method=method) as pool:
        yield pool


by_each = pytest.mark.parametrize("method", START_METHODS)


@by_each
@pytest.mark.usefixtures("older_keeper")
def test_the_time_zone_is_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A program that has set TZ has workers that tell its local time."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XYZ-5")
        time.tzset()
        with pool_by(method) as pool:
            assert pool.submit(zone).result(DEADLINE) == zone() == ("XYZ", 5)
    time.tzset()


@by_each
@pytest.mark.usefixtures("older_keeper")
@pytest.mark.skipif(surroundings._umask() is None, reason="nobody can look at it without harm")
def test_the_umask_is_the_programs(method: str) -> None:
    """Files that tasks make are open to whom the program wants."""
    before = os.umask(0o037)
    try:
        with pool_by(method) as pool:
            assert pool.submit(umask).result(DEADLINE) == 0o037
    finally:
        os.umask(before)


@by_each
@pytest.mark.usefixtures("older_keeper")
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_the_cpus_are_those_of_who_made_the_pool(method: str) -> None:
    """Workers run where the program may run."""
    before = cpus()
    os.sched_setaffinity(0, {min(before)})
    try:
        with pool_by(method) as pool:
            assert pool.submit(cpus).result(DEADLINE) == {min(before)}
    finally:
        os.sched_setaffinity(0, before)


def test_where_a_system_has_none_of_it_a_worker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No affinity, no look at the umask: it is left as it is."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(surroundings, "_umask", lambda: None)
    with Pool(1, backend="process", blas_threads=None) as pool:
        assert pool.submit(umask).result(DEADLINE) == umask()


def interrupted() -> tuple[bool, int]:
    """Tell whether SIGINT raises KeyboardInterrupt here, and how it ends what is started here."""
    struck = False
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        struck = True
    ends_itself = ["sh", "-c", "kill -INT $$"]  # goes on where SIGINT is ignored
    return struck, subprocess.run(ends_itself, check=False, timeout=DEADLINE).returncode


@by_each
def test_tasks_and_what_they_start_hear_sigint(method: str) -> None:
    """However a worker was started, a task can interrupt the programs that it starts."""
    with pool_by(method) as pool:
        assert pool.submit(interrupted).result(DEADLINE) == (True, -signal.SIGINT)


@by_each
def test_a_program_without_a_spec_has_workers(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """As under pdb, which on older Pythons takes ``__spec__`` from ``__main__``; that is left as it is."""
    main = sys.modules["__main__"]
    monkeypatch.delattr(main, "__spec__", raising=False)
    with pool_by(method) as pool:
        assert pool.submit(double, 1).result(DEADLINE) == 2
    assert not hasattr(main, "__spec__")


@by_each
def test_a_program_can_be_debugged(tmp_path: Path, method: str) -> None:
    """Under pdb, functions and classes of the program travel both ways."""
    program = program_in(tmp_path, f"backend='process', start_method={method!r}")
    said = said_by("-m", "pdb", "-c", "continue", "-c", "quit", program)
    assert "got True 2\n" in said


@pytest.mark.parametrize(
    "settings",
    [
        *(f"backend='process', start_method={method!r}" for method in START_METHODS),
        pytest.param(
            "backend='interpreter'",
            marks=pytest.mark.skipif(not has_interpreters(), reason="this Python has none"),
        ),
    ],
)
def test_a_program_may_be_run_by_another(tmp_path: Path, settings: str) -> None:
    """As coverage does, which has loaded multiprocessing by then: results are of the program's own classes."""
    program = program_in(tmp_path, settings)
    runner = tmp_path / "runner.py"
    runner.write_text(RUNNER, encoding="utf-8")
    assert said_by(runner, program) == "got True 2\n"


PROGRAM = """
from workpool import Pool

class Thing:
    def __init__(self, n):
        self.n = n

def longer(thing):
    return Thing(thing.n + 1)

if __name__ == "__main__":
    with Pool(1, SETTINGS) as pool:
        result = pool.submit(longer, Thing(1)).result()
    print("got", type(result) is Thing, result.n)
"""

RUNNER = """
import multiprocessing, sys, types
main = types.ModuleType("__main__")
main.__file__ = sys.argv[1]
sys.modules["__main__"] = main
with open(main.__file__) as file:
    exec(compile(file.read(), main.__file__, "exec"), main.__dict__)
"""


def program_in(folder: Path, settings: str) -> Path:
    """Write a program that sends things of its own to a pool with these settings and back."""
    program = folder / "program.py"
    program.write_text(PROGRAM.replace("SETTINGS", settings), encoding="utf-8")
    return program


def said_by(*command: str | Path) -> str:
    """Run the interpreter with these arguments and give what it printed; errors are in the report of a failure."""
    ran = subprocess.run(
        [sys.executable, *command],
        check=False,
        timeout=DEADLINE,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return ran.stdout + ran.stderr
