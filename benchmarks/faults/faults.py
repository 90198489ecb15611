"""The faults, one function each: made to happen to a pool, and told in a few words what came of it.

A function that does not come back is ended from outside, and then it is said that it hangs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from benchmarks.faults import calls
from benchmarks.faults.pools import Outcome, PoolUnderTest, kill
from benchmarks.faults.shortages import SHORTAGES

__all__ = ["FAULTS", "Fault"]

Fault = Callable[[PoolUnderTest], str]
ITEMS = 8


def verdict(pool: PoolUnderTest, outcomes: Sequence[Outcome], guilty: Sequence[int]) -> str:
    """Say what came of those that made trouble, of the others, and of the pool."""
    said: list[str] = []
    for n in guilty:
        there, value = outcomes[n]
        said.append("no error" if there else type(value).__name__)
    others = [there for n, (there, _) in enumerate(outcomes) if n not in guilty]
    lost = others.count(False)
    if lost:
        error = next(v for n, (there, v) in enumerate(outcomes) if n not in guilty and not there)
        kind = f" ({type(error).__name__})" if not guilty else ""
        said.append(f"{lost} of {len(others)} others lost{kind}")
    else:
        said.append("others run")
    again = pool.run(calls.double, range(4))
    if not all(there for there, _ in again):
        said.append("pool is broken")
    return ", ".join(said)


def in_a_task(kind: str, pool: PoolUnderTest) -> str:
    """One task of eight makes trouble."""
    pool.open()
    return verdict(pool, pool.run(partial(calls.trouble, kind), range(ITEMS)), [calls.BAD])


def idle_worker_killed(pool: PoolUnderTest) -> str:
    """A worker with nothing to do is killed."""
    pool.open()
    pids = {pid for there, pid in pool.run(calls.pid_of, range(6)) if there}
    kill(pids.pop())
    time.sleep(0.3)  # for those who look to see it
    return verdict(pool, pool.run(calls.double, range(ITEMS)), [])


def killed_while_sending(pool: PoolUnderTest) -> str:
    """A worker is killed with 200 MB of a result under way."""
    pool.open()
    return verdict(pool, pool.run(calls.send_and_die, range(ITEMS)), [calls.BAD])


def unpicklable_argument(pool: PoolUnderTest) -> str:
    """One argument holds a lock."""
    pool.open()
    items: list[Any] = [0] * ITEMS
    items[calls.BAD] = threading.Lock()
    return verdict(pool, pool.run(calls.take, items), [calls.BAD])


def argument_that_exits(pool: PoolUnderTest) -> str:
    """One argument raises SystemExit while it is pickled."""
    pool.open()
    items: list[Any] = [0] * ITEMS
    items[calls.BAD] = calls.RaisesWhenPickled()
    return verdict(pool, pool.run(calls.take, items), [calls.BAD])


def argument_that_fails_there(pool: PoolUnderTest) -> str:
    """One argument raises while it is unpickled in the worker."""
    pool.open()
    items: list[Any] = [0] * ITEMS
    items[calls.BAD] = calls.RaisesWhenUnpickled()
    return verdict(pool, pool.run(calls.take, items), [calls.BAD])


def both_ways(pool: PoolUnderTest) -> str:
    """40 times 4 MB, there and back."""
    pool.open()
    data = bytes(4_000_000)
    outcomes = pool.run(calls.size_of, [data] * 40)
    whole = sum(there and value == data for there, value in outcomes)
    return f"{whole} of 40 come back"


def initializer(how: Callable[[], object], pool: PoolUnderTest) -> str:
    """The initializer fails, or ends the worker."""
    if not pool.has_initializer:
        return "-"
    began = time.monotonic()
    try:
        pool.open(initializer=how)
        outcomes = pool.run(calls.double, range(4))
    except Exception as error:
        outcomes = [(False, error)]
    errors = {type(value).__name__ for there, value in outcomes if not there}
    took = time.monotonic() - began
    return f"{', '.join(errors) or 'no error'} within {max(0.1, took):.1f} s"


def time_limit(pool: PoolUnderTest) -> str:
    """A limit of 0.5 s for C code that holds the interpreter's lock."""
    if not pool.has_limit:
        return "-"
    pool.open()
    pool.run(calls.double, range(4))
    began = time.monotonic()
    try:
        pool.limited(0.5, calls.hold_gil, 2)()
        said = "no error"
    except Exception as error:
        said = type(error).__name__
    took = time.monotonic() - began
    again = all(there for there, _ in pool.run(calls.double, range(4)))
    return f"{said} after {took:.1f} s" + ("" if again else ", pool is broken")


# ------------------------------------------------------------------- programs of their own


def program(pool: PoolUnderTest, what: str, *args: str) -> subprocess.Popen[str]:
    """Start a program that uses the pool; see `role` in ``trial.py``."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.faults.trial", what, type(pool).__name__, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    return False


def busy(pool: PoolUnderTest) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a program whose two workers are in C code; give their pids."""
    child = program(pool, "busy")
    assert child.stdout is not None
    return child, [int(child.stdout.readline()) for _ in range(2)]


def parent_killed(number: int, pool: PoolUnderTest) -> str:
    """The program dies while its workers are in C code."""
    child, pids = busy(pool)
    child.send_signal(number)
    time.sleep(2.0)
    left = sum(map(alive, pids))
    return f"{left} of 2 workers left after 2 s" if left else "all gone within 2 s"


def ctrl_c(pool: PoolUnderTest) -> str:
    """Ctrl-C at the terminal, while the program waits for a result."""
    child, pids = busy(pool)
    began = time.monotonic()
    os.killpg(child.pid, signal.SIGINT)
    try:
        child.wait(8.0)
        said = f"ends after {max(0.1, time.monotonic() - began):.1f} s"
    except subprocess.TimeoutExpired:
        said = "has not ended after 8 s"
        child.kill()
    time.sleep(0.5)
    left = sum(map(alive, pids))
    for pid in pids:
        with suppress(ProcessLookupError):
            kill(pid)
    with suppress(subprocess.TimeoutExpired):
        errors = child.communicate(timeout=2.0)[1]
        lines = len(errors.splitlines())
        # The program's own traceback is its author's doing.
        tracebacks = errors.count("Traceback") - 1
        if tracebacks > 0 or lines > 40:
            said += f", {max(0, tracebacks)} more tracebacks"
    return said + (f", {left} workers left" if left else "")


def no_end(pool: PoolUnderTest) -> str:
    """The program comes to its end with tasks in the queue, and nobody closes the pool."""
    with tempfile.TemporaryDirectory() as folder:
        child = program(pool, "no_end", folder)
        try:
            child.communicate(timeout=8.0)
        except subprocess.TimeoutExpired:
            child.kill()
            return f"has not ended after 8 s, {len(os.listdir(folder))} of 10 tasks run"
        return f"{len(os.listdir(folder))} of 10 tasks run, exit code {child.returncode}"


FAULTS: dict[str, tuple[str, Fault]] = {
    "kill": ("a worker is killed while it runs a task", partial(in_a_task, "kill")),
    "crash": ("a task crashes in C (SIGSEGV)", partial(in_a_task, "crash")),
    "exit": ("a task calls `os._exit`", partial(in_a_task, "exit")),
    "idle": ("an idle worker is killed", idle_worker_killed),
    "sending": ("a worker is killed while it sends 200 MB", killed_while_sending),
    "init-exit": ("the initializer ends its worker", partial(initializer, calls.exits)),
    "init-raise": ("the initializer raises", partial(initializer, calls.make_exits)),
    "sys.exit": ("a task calls `sys.exit`", partial(in_a_task, "sys.exit")),
    "two-arguments": (
        "an exception whose `__init__` takes two arguments",
        partial(in_a_task, "two arguments"),
    ),
    "argument": ("an argument cannot be pickled", unpicklable_argument),
    "argument-exit": ("an argument raises SystemExit when pickled", argument_that_exits),
    "argument-there": ("an argument cannot be unpickled", argument_that_fails_there),
    "result": ("a result cannot be pickled", partial(in_a_task, "lock")),
    "result-exit": ("a result raises SystemExit when pickled", partial(in_a_task, "pickled")),
    "result-here": ("a result cannot be unpickled", partial(in_a_task, "unpickled")),
    "nested": ("a result is nested 100,000 deep", partial(in_a_task, "nested")),
    "both-ways": ("40 times 4 MB, both ways at once", both_ways),
    "limit": ("a time limit of 0.5 s, C code that holds the GIL", time_limit),
    "memory": ("a task wants more memory than its worker may have", partial(in_a_task, "memory")),
    **SHORTAGES,
    "ctrl-c": ("Ctrl-C while a result is waited for, workers in C code", ctrl_c),
    "parent-9": (
        "SIGKILL of the program, workers in C code",
        partial(parent_killed, signal.SIGKILL),
    ),
    "parent-15": (
        "SIGTERM of the program, workers in C code",
        partial(parent_killed, signal.SIGTERM),
    ),
    "no-end": ("the program ends, and nobody has closed the pool", no_end),
}
