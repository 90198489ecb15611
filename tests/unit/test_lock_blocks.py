"""Blocks of a lock that the exception of a signal strikes at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from workpool import _compat

# A program of its own: the limit of a test is a signal too.
PROGRAM = """
import signal
import threading
from workpool import _compat
from workpool.scheduling.patient_lock import make_lock

class Hit(BaseException):
    pass

def strike(*_):
    raise Hit

def work(lock):
    while True:
        with lock:
            pass

def work_written_out(lock):
    while True:
        owned = False
        for owned in lock.tries if hasattr(lock, "tries") else map(lock.acquire, (False,)):
            break
        if not owned:
            if hasattr(lock, "wait"):
                lock.wait()
            else:
                for _ in map(lock.acquire, (True,)):
                    break
        try:
            pass
        finally:
            lock.release()

signal.signal(signal.SIGALRM, strike)
lock = {lock}

def get_in_the_way():
    while True:
        for _ in map(lock.acquire, (True,)):
            break
        lock.release()
        done.wait(0.0002)

done = threading.Event()
if {shared}:
    threading.Thread(target=get_in_the_way, daemon=True).start()
left = 0
for _ in range(1_000):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        {work}(lock)
    except Hit:
        pass
    if hasattr(lock, "_is_owned"):
        held = lock._is_owned()
    else:
        held = not lock.acquire(timeout=5 if {shared} else 0)
        if not held:
            lock.release()
    if held:
        left += 1
        lock.release()
print(left)
"""


def left_locked(lock: str, work: str = "work", *, shared: bool = False) -> int:
    """Be struck a thousand times in a loop of blocks; tell how often the lock was left locked."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(lock=lock, work=work, shared=shared)],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
        # What measures coverage has locks of its own, which may well be left locked.
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
    )
    assert ran.stderr == ""
    return int(ran.stdout)


@pytest.mark.parametrize("kind", ["_compat.Lock()", "_compat.RLock()", "make_lock(Hit)"])
@pytest.mark.parametrize("work", ["work", "work_written_out"])
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_a_lock_is_never_left_locked(kind: str, work: str, shared: bool) -> None:
    """Ctrl-C, or an exception sent into a thread, may come anywhere: who comes next gets the lock."""
    assert left_locked(kind, work, shared=shared) == 0


@pytest.mark.skipif(
    not (3, 14) <= sys.version_info < (3, 14, 11), reason="the last that is known to do so"
)
def test_python_needs_that_help() -> None:
    """A plain lock is left locked."""
    assert left_locked("threading.Lock()") > 0


def test_a_lock_is_one() -> None:
    """Who has it keeps the others out."""
    lock = _compat.Lock()
    got: list[bool] = []
    with lock:
        other = threading.Thread(target=lambda: got.append(lock.acquire(blocking=False)))
        other.start()
        other.join(20.0)
    assert got == [False]
    assert lock.acquire(timeout=0)
    lock.release()
