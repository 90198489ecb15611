"""The machine runs out of something: a clear error on the task or call, and the pool recovers when it is back.

Each limit is a real one (setrlimit, a full file system), in a program of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.backends import Kind
from tests.support.scripts import printed_by

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")

BY_NAME = {"thread": Kind("thread", frozenset()), "process": Kind("process", frozenset())}
KILLABLE = ["thread", "process"]


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no coverage in programs that count threads, memory and descriptors: it needs some itself."""
    for name in list(os.environ):
        if name.startswith("COVERAGE"):
            monkeypatch.delenv(name)


LIMITS = """
import os, resource, threading
from workpool import Counter, Event, Lock, Queue, Semaphore, Shared, WorkerLost
from tests.support.gates import DEADLINE, in_background
from tests.support.queues import until

def limit(what, soft):
    resource.setrlimit(what, (soft, resource.getrlimit(what)[1]))

def fds():
    return len(os.listdir("/proc/self/fd"))

def threads():
    return threading.active_count()

def outcome(call, *kinds):
    '''Tell how a call ends: with a value, or one of these errors.'''
    try:
        return in_background(call).result()
    except kinds as error:
        assert str(error) or type(error) is MemoryError
        return type(error).__name__

def outcome_of(pool, n):
    return outcome(lambda: pool.submit(tasks.double, n).result(DEADLINE), WorkerLost, OSError)
"""


def test_a_pool_without_descriptors_recovers() -> None:
    """A worker that cannot have its pipes fails what waits; with descriptors again, tasks run."""
    script = (
        LIMITS
        + """
soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
with Pool(2, backend="process") as pool:
    pool.submit(tasks.double, 1).result(DEADLINE)
with Pool(2, backend="process") as pool:
    before = fds(), threads()
    seen = set()
    for spare in range(0, 24):
        limit(resource.RLIMIT_NOFILE, max(map(int, os.listdir("/proc/self/fd"))) + 1 + spare)
        seen.add(outcome_of(pool, 21))
        limit(resource.RLIMIT_NOFILE, soft)
        if pool._scheduler.workers:
            break  # one could start
        in_background(pool.join, DEADLINE).result()
        until(lambda: (fds(), threads()) == before)
    print(sorted(map(str, seen)))
    print(outcome_of(pool, 4), pool.unfinished)
"""
    )
    assert printed_by(BY_NAME["process"], script) == ["['42', 'WorkerLost']", "8 0"]


def test_a_program_without_descriptors_can_start_no_keeper() -> None:
    """The same for the very first pool, when not even the process that starts the others can be had."""
    script = (
        LIMITS
        + """
soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
import workpool.pool, workpool.backends.process, multiprocessing.spawn, multiprocessing.resource_tracker
for spare in (0, 1, 2, 3, 5):
    limit(resource.RLIMIT_NOFILE, max(map(int, os.listdir("/proc/self/fd"))) + 1 + spare)
    try:
        pool = Pool(1, backend="process")
    except OSError as error:
        said = error
    else:
        said = outcome_of(pool, 1)
    limit(resource.RLIMIT_NOFILE, soft)
    assert isinstance(said, OSError) or said == "WorkerLost" or (spare and said == 2), said
    pool = Pool(1, backend="process")
    print(outcome_of(pool, 2))
    pool.shutdown()
"""
    )
    assert printed_by(BY_NAME["process"], script) == ["4"] * 5


def test_fewer_workers_than_asked_for_do_all_the_work() -> None:
    """Where some workers can start and others cannot, those that did do it all, and nobody spins meanwhile."""
    script = (
        LIMITS
        + """
import time
from tests.support.gates import Gate
soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
with Pool(8, backend="process") as pool, Gate() as gate:
    held = pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    limit(resource.RLIMIT_NOFILE, max(map(int, os.listdir("/proc/self/fd"))) + 2)
    submitted = [pool.submit(tasks.double, n) for n in range(40)]
    before = time.process_time()
    threading.Event().wait(0.5)  # house: sleep - a stretch of time in which nothing may spin
    assert time.process_time() - before < 0.25, time.process_time() - before
    limit(resource.RLIMIT_NOFILE, soft)
    gate.open()
    print([task.result(DEADLINE) for task in submitted] == [2 * n for n in range(40)], held.result(DEADLINE))
    late = [pool.submit(tasks.meet, gate.path) for _ in range(4)]
    print(pool.join(DEADLINE), pool.unfinished)
"""
    )
    assert printed_by(BY_NAME["process"], script) == ["True 1", "None 0"]


@pytest.mark.parametrize("backend", KILLABLE)
@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become a user whose processes are counted"
)
def test_a_pool_without_threads_or_processes_recovers(backend: str) -> None:
    """No thread or process to be had: the task says so. When there are some again, tasks run."""
    script = (
        LIMITS
        + """
# All that is needed is loaded before this becomes a user who may read nothing: whence start_method="fork".
method = {"start_method": "fork"} if BACKEND == "process" else {}
with Pool(1, backend=BACKEND, **method) as pool:
    pool.submit(tasks.double, 1).result(DEADLINE)
    pool.options(retries=1).submit(tasks.double, 1).result(DEADLINE)
soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
os.setgid(65534)
os.setuid(54321)
def starved(pool, most):
    limit(resource.RLIMIT_NPROC, most)
    task = pool.submit(tasks.double, 1)
    said = []
    try:
        said.append(task.result(DEADLINE))
    except WorkerLost as error:
        said += ["could start no worker" in str(error) or "was not begun" in str(error), "Free " in str(error)]
    limit(resource.RLIMIT_NPROC, soft)
    return said
# With one, there is no thread; with two, there is a thread and no process; then one that has no thread of its own.
for most in range(1, 9) if BACKEND == "process" else (1,):
    with Pool(1, backend=BACKEND, **method) as pool:
        until(lambda: threads() == 1)
        said = starved(pool, most)
        if most < 3 or said != [2]:
            print(said, pool.submit(tasks.double, 2).result(DEADLINE))
        if BACKEND == "thread":
            limited = pool.options(time_limit=DEADLINE)  # needs a thread that watches the clock
            print(starved(limited, 1), limited.submit(tasks.double, 2).result(DEADLINE))
"""
    )
    printed = printed_by(BY_NAME[backend], script)
    assert set(printed) == {"[True, True] 4"}
    assert len(printed) >= 2


@pytest.mark.parametrize("backend", KILLABLE)
def test_a_pool_without_memory_recovers(backend: str) -> None:
    """A task that asks for too much has MemoryError; so has a submit or a result that does not fit."""
    script = (
        LIMITS
        + """
def take(size):
    return len(bytearray(size))
def make(size):
    return bytes(size)
HUGE = 1 << 34
with Pool(1, backend=BACKEND, initializer=resource.setrlimit,
          initargs=(resource.RLIMIT_AS, (1 << 32, resource.getrlimit(resource.RLIMIT_AS)[1]))) as pool:
    print(outcome(lambda: pool.submit(take, HUGE).result(DEADLINE), MemoryError))
    print(outcome(lambda: list(pool.map(take, [HUGE, 1])), MemoryError))
    print(pool.submit(take, 1000).result(DEADLINE))
    print(sum(map(len, pool.map(make, [1000] * 10))), pool.stats().lost)
"""
    )
    assert printed_by(BY_NAME[backend], script) == ["MemoryError", "MemoryError", "1000", "10000 0"]


def test_a_parent_without_memory_recovers() -> None:
    """Where the parent cannot have the memory for a call or a result, that one fails, and the rest goes on."""
    script = (
        LIMITS
        + """
def make(size):
    return bytes(size)
def longest(pieces):
    return max(map(len, pieces))
def size():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
from workpool import NotPicklable
with Pool(1, backend="process") as pool:
    print(len(pool.submit(make, 10).result(DEADLINE)))
    data = bytes(200_000_000)
    limit(resource.RLIMIT_AS, size() + 64_000_000)
    straight = pool.submit(len, data).result(DEADLINE)  # of bytes as they are no copy is made here
    large = outcome(lambda: pool.submit(longest, [data]).result(DEADLINE), MemoryError, OSError, NotPicklable)
    back = outcome(lambda: len(pool.submit(make, 300_000_000).result(DEADLINE)), MemoryError, OSError, WorkerLost)
    small = outcome_of(pool, 4)
    limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
    print(straight, large != 200_000_000, back != 300_000_000, small)
    print(len(pool.submit(make, 300_000_000).result(DEADLINE)), pool.submit(len, data).result(DEADLINE))
    print(pool.unfinished)
"""
    )
    lines = printed_by(BY_NAME["process"], script, timeout=50.0)
    assert lines == ["10", "200000000 True True 8", "300000000 200000000", "0"]


MAKES = """
MAKES = {
    "counter": lambda: Counter(scope="process"),
    "shared": lambda: Shared({"a": 1}, scope="process"),
    "lock": lambda: Lock(scope="process"),
    "semaphore": lambda: Semaphore(2, scope="process"),
    "event": lambda: Event(scope="process"),
    "queue": lambda: Queue(3, scope="process"),
}
"""


def test_shared_state_without_descriptors_says_so() -> None:
    """Each kind raises OSError at its making, and can be made when there are descriptors again."""
    script = (
        LIMITS
        + MAKES
        + """
import errno
soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
from importlib import import_module
for name in ("workpool.shared.in_processes", "workpool.queues.process", "ctypes"):
    import_module(name)
used = len(os.listdir("/proc/self/fd"))
said = set()
for name, make in MAKES.items():
    limit(resource.RLIMIT_NOFILE, 3)
    try:
        make()
    except OSError as error:
        said.add(error.errno)
    limit(resource.RLIMIT_NOFILE, soft)
assert said == {errno.EMFILE}, said
made = [make() for make in MAKES.values()]
made[0].add(3)
made[5].put("x")
print(made[0].value, made[1].get(), made[5].get())
"""
    )
    assert printed_by(BY_NAME["process"], script) == ["3 {'a': 1} x"]


def test_shared_state_without_memory_says_so() -> None:
    """A file of memory that may not grow (RLIMIT_FSIZE) is OSError at the call, not SIGBUS at a store."""
    script = (
        LIMITS
        + MAKES
        + """
soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
kept = Shared(b"", scope="process")
queue = Queue(scope="process")
said = set()
limit(resource.RLIMIT_FSIZE, 0)
for make in MAKES.values():
    for _ in range(3000):  # what is there already is used up first
        try:
            held = said.add(type(make()).__name__) if False else make()
        except OSError as error:
            said.add("shared memory" in str(error))
            break
for call in (lambda: kept.set(b"x" * 30_000_000), lambda: [queue.put(b"x" * 1_000_000) for _ in range(99)]):
    try:
        call()
    except OSError as error:
        said.add("shared memory" in str(error))
limit(resource.RLIMIT_FSIZE, soft)
print(said)
kept.set(b"y" * 30_000_000)
print(len(kept.get()), Counter(scope="process").add(2))
with Pool(1, backend="process") as pool:
    limit(resource.RLIMIT_FSIZE, 0)
    first = outcome_of(pool, 1)
    limit(resource.RLIMIT_FSIZE, soft)
    print(first, outcome_of(pool, 2))
"""
    )
    lines = printed_by(BY_NAME["process"], script)
    assert lines == ["{True}", "30000000 2", "WorkerLost 4"]


@pytest.mark.parametrize("state", ["full", "read-only"])
def test_no_temp_folder_is_needed(state: str) -> None:
    """With every temp folder and /dev/shm full or read-only, pools and shared state work as ever.

    The file systems are mounted where only this program sees them.
    """
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount anything, not even for itself")
    for needed in (os.getcwd(), sys.prefix, sys.base_prefix):
        if needed.startswith(("/tmp/", "/var/tmp/", "/dev/shm/")):
            pytest.skip(f"{needed} has to stay where it is, in a temp folder")
    program = (
        f"STATE = {state!r}"
        """
import os, subprocess, sys, tempfile
for name in ("/tmp", "/var/tmp", "/dev/shm"):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", name], check=True)
    try:
        with open(name + "/filler", "wb") as filler:
            filler.write(b"x" * 70_000)
    except OSError:
        pass
    if STATE == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", name], check=True)
from tests.support import tasks
from workpool import Pool
if __name__ == "__main__":
    try:
        with open("/tmp/one", "wb") as one:
            one.write(b"x" * 8192)
    except OSError:
        print("no room")
    for method in ("forkserver", "spawn", "fork"):
        with Pool(2, backend="process", start_method=method) as pool:
            counter, queue = pool.counter(), pool.queue()
            queue.put(b"x" * 1_000_000)
            print(sum(pool.map(tasks.double, range(10))), counter.add(5), len(queue.get()))
            print(len(pool.submit(tasks.echo, b"x" * 3_000_000).result(20)))
"""
    )
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-W", "error", "-c", program],
        check=False,
        capture_output=True,
        cwd=os.getcwd(),
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["no room", *["90 5 1000000", "3000000"] * 3]
