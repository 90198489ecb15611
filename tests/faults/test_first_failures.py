"""The first call of a worker process fails, and takes with it what the worker would need to say so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gates import DEADLINE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")

# It loads no Pool where it is imported, and so its workers have none of what comes with that.
PROGRAM = """
import os, resource, sys, threading
import workpool

class Unhashable(type):
    def __eq__(cls, other):
        return cls is other

class Odd(metaclass=Unhashable):
    pass

def use_up():
    files = []
    while True:
        files.append(open(os.devnull))

def use_up_and_hold():
    assert "workpool.errors" not in sys.modules, "this test is about nothing"
    files = []
    try:
        while True:
            files.append(open(os.devnull))
    except OSError:
        pass
    error = ValueError("held")
    error.files = files
    raise error

def grow():
    held = []
    while True:
        held.append(bytearray(1 << 20))

def told():
    return "workpool.ipc.stand_ins" in sys.modules

def told_beside_a_thread():
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return told()

def no_limit():
    pass

def limit():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))

if __name__ == "__main__":
    at_rest = sys.argv[2].startswith("told")
    setup = no_limit if at_rest else limit
    with workpool.Pool(1, backend="process", start_method=sys.argv[1], initializer=setup) as pool:
        if at_rest:
            # The first hundred rests are as short as they come; at the last of them it is loaded all the same.
            first = pool.submit(eval(sys.argv[2])).result()
            print(first, [pool.submit(told).result() for _ in range(150)][-1])
            sys.exit()
        print(repr(pool.submit(eval(sys.argv[2])).exception()))
        print(pool.submit(abs, -1).result(), pool.stats().lost)
"""

TOLD = {
    "use_up": "OSError(24, 'Too many open files')",
    "use_up_and_hold": "RuntimeError('task 0 (use_up_and_hold) raised what cannot be told: ValueError (",
    "grow": "MemoryError()",
    "Odd": "unhashable type: 'Unhashable'",
}


def printed_by(folder: Path, *arguments: str) -> str:
    """Run the program to its end, in silence, and give what it prints."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    ran = subprocess.run(
        [sys.executable, program, *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        # What measures coverage loads much of it, and has files of its own to open.
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
    )
    assert ran.stderr == ""
    return ran.stdout


# The keeper may have loaded all of it before the first request comes: then there is nothing to be short of.
CASES = [
    *(("spawn", failing) for failing in TOLD),
    *(("forkserver", failing) for failing in TOLD if failing != "use_up_and_hold"),
]


@pytest.mark.parametrize(("method", "failing"), CASES)
def test_the_task_fails_and_not_its_worker(tmp_path: Path, method: str, failing: str) -> None:
    """With the error that it raised, or with what can be told of one that does not travel."""
    told, after = printed_by(tmp_path, method, failing).splitlines()
    assert TOLD[failing] in told
    assert after == "1 0"


@pytest.mark.parametrize(("when", "then"), [("told", True), ("told_beside_a_thread", False)])
def test_what_a_failure_needs_is_loaded_at_rest(tmp_path: Path, when: str, then: bool) -> None:
    """Behind the first call; but not while a thread that a call has left here may fork."""
    assert printed_by(tmp_path, "spawn", when) == f"False {then}\n"
