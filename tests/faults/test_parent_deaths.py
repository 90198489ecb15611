"""The parent dies, by whatever signal and whenever: its workers and their children are gone at once.

The kernel tells when each of them ends (pidfd). Nothing may be left in temp
folders (a program has one of its own here) or in shared memory (the check around tests).
"""

from __future__ import annotations

import os
import signal
import sys

import pytest

from tests.support.programs import Program, Watched

pytestmark = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"),
    reason="only Linux tells of the end of a process that is no child",
)

AT_ONCE = 2.0  # seconds, as promised

START = """
from tests.support.stuck import stuck, tell
METHOD = sys.argv[2]
"""

BUSY = (
    START
    + """
pool = Pool(1, backend=BACKEND, start_method=METHOD)
counter, lock, queue = pool.counter(), pool.lock(), pool.queue()
queue.put(counter.add())
pool.submit(stuck, sys.argv[3]).result()
"""
)

# How many processes tell of themselves, each way.
TOLD = {"with_child": 2, "with_orphan": 2, "with_session": 3, "with_pool": 2}


def killed(script: str, *args: str, told: int = 1, number: int = signal.SIGKILL) -> None:
    """Kill a program as soon as all have told of themselves, and see them go."""
    with Program(script, "process", *args) as program:
        watched = [program.watched() for _ in range(told)]
        program.kill(number)
        left = [f"{one.word} {one.pid}" for one in watched if not one.gone(AT_ONCE)]
        assert left == []
        ended = program.end(AT_ONCE)
        assert ended.code == -number
        assert ended.errors == ""


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("way", ["in_c", "stubborn", "with_child", "with_orphan", "with_session"])
def test_busy_workers_end_with_the_parent(method: str, way: str) -> None:
    """Whatever a worker is in the middle of, and however it was started; its children go with it."""
    killed(BUSY, method, way, told=TOLD.get(way, 1))


@pytest.mark.parametrize("way", ["waiting", "deaf", "computing", "with_pool"])
def test_workers_end_whatever_they_do(way: str) -> None:
    """Also those that wait, compute, block every signal, or have pools of their own."""
    killed(BUSY, "forkserver", way, told=TOLD.get(way, 1))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV, signal.SIGQUIT])
def test_every_signal_that_ends_the_parent_ends_workers(number: int) -> None:
    """It need not be kill -9."""
    killed(BUSY, "forkserver", "in_c", number=number)


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_idle_workers_end_with_the_parent(method: str) -> None:
    """A worker with nothing to do hears of it too."""
    script = (
        START
        + """
from tests.support.gates import DEADLINE
with Pool(2, backend=BACKEND, start_method=METHOD) as pool:
    for pid in {pool.submit(tasks.identity).result(DEADLINE)[0] for _ in range(2)}:
        tell("idle", pid)
    tell("ready")
    sys.stdin.close()
    import threading
    threading.Event().wait(30)
"""
    )
    killed(script, method, told=2)


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_workers_that_start_end_with_the_parent(method: str) -> None:
    """The parent may die while its workers are in their initializers."""
    script = (
        START
        + """
pool = Pool(2, backend=BACKEND, start_method=METHOD, initializer=stuck, initargs=("in_c",))
pool.submit(tasks.double, 1)
pool.submit(tasks.double, 1).result()
"""
    )
    killed(script, method, told=2)


def test_workers_that_receive_and_send_end_with_the_parent() -> None:
    """Both pipes may be full, and the messages in them cut off."""
    script = (
        START
        + """
def echo(data):
    tell("echo")
    return data
pool = Pool(2, backend=BACKEND, start_method=METHOD)
for _ in range(4):
    pool.submit(echo, b"x" * 20_000_000)
pool.join()
tell("over")
"""
    )
    killed(script, "forkserver", told=2)


def test_the_parent_may_be_killed_at_any_time_of_its_start() -> None:
    """Killed while keeper and workers are being started, at ever later moments: nothing is left."""
    script = (
        START
        + """
tell("begin")
pool = Pool(2, backend=BACKEND, start_method=METHOD)
tasks = [pool.submit(tell, "worker") for _ in range(2)]
for task in tasks:
    task.result()
tell("end")
"""
    )
    # A kill can be sent no sooner than the word is heard; each line that is waited for is a later moment.
    for method in ("forkserver", "fork"):
        for lines in (1, 2, 3):
            with Program(script, "process", method) as program:
                program.lines(lines)
                program.kill()
                # Its outputs end when nobody is left who holds them: parent, keeper and workers are gone.
                program.end(AT_ONCE)


def test_the_keeper_may_be_killed_with_the_parent() -> None:
    """Then the kernel ends the workers."""
    script = (
        START
        + """
from workpool.ipc.keeper import keeper
pool = Pool(1, backend=BACKEND)
task = pool.submit(stuck, "in_c")
tell("keeper", keeper._pid)
task.result()
"""
    )
    with Program(script, "process", "forkserver") as program:
        watched: dict[str, Watched] = {}
        for _ in range(2):
            one = program.watched()
            watched[one.word] = one
        os.kill(watched["keeper"].pid, signal.SIGSTOP)  # so that it does not do it
        program.kill()
        os.kill(watched["keeper"].pid, signal.SIGKILL)
        assert watched["in_c"].gone(AT_ONCE)
        assert watched["keeper"].gone(AT_ONCE)
        program.end(AT_ONCE)


def test_a_parent_that_leaves_by_exit_takes_its_workers_along() -> None:
    """os._exit runs none of our code, and needs none."""
    script = (
        START
        + """
import os
from tests.support.gates import Gate
with Gate() as gate:
    pool = Pool(1, backend=BACKEND)
    pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    pool.submit(stuck, "in_c")
    gate.open()
    sys.stdin.close()
    import threading
    threading.Event().wait(0.2)  # house: sleep - any moment will do
    os._exit(3)
"""
    )
    with Program(script, "process", "forkserver") as program:
        ended = program.end()
        assert (ended.code, ended.errors) == (3, "")


def test_a_worker_that_dies_takes_its_children_along() -> None:
    """Children that a worker leaves when it is killed are nobody's: they end with it."""
    script = (
        START
        + """
from workpool import WorkerLost
import os, signal
pool = Pool(1, backend=BACKEND, start_method=METHOD)
task = pool.submit(stuck, "with_child")
worker = int(sys.stdin.readline() or 0)
try:
    task.result()
except WorkerLost:
    tell("lost")
pool.shutdown()
"""
    )
    for method in ("forkserver", "spawn", "fork"):
        with Program(script, "process", method) as program:
            child, worker = program.watched(), program.watched()
            os.kill(worker.pid, signal.SIGSEGV)
            assert worker.gone(AT_ONCE)
            assert child.gone(AT_ONCE)
            assert program.line().split()[0] == "lost"
            ended = program.end()
            assert (ended.code, ended.errors) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="found in /proc")
@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("how", ["late", "cancel", "kill"])
def test_a_worker_that_is_ended_takes_along_children_in_sessions_of_their_own(
    method: str, how: str
) -> None:
    """Past a time limit, cancelled by force or killed with the pool: no command that a task began goes on."""
    script = (
        START
        + """
HOW = sys.argv[3]
from tests.support.gates import Gate
from tests.support.stuck import leave_session
pool = Pool(1, backend=BACKEND, start_method=METHOD)
pool.submit(leave_session).result()
if HOW == "late":
    task = pool.options(time_limit=0.2).submit(stuck, "deaf")
else:
    with Gate() as gate:
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        task.cancel(kill=True) if HOW == "cancel" else pool.kill()
print(type(task.exception()).__name__ if not task.cancelled() else "cancelled", flush=True)
pool.shutdown()
"""
    )
    with Program(script, "process", method, how) as program:
        children = [program.watched() for _ in range(2)]
        if how == "late":
            children.append(program.watched())
        said = {"late": "TimeLimitExceeded", "cancel": "cancelled", "kill": "WorkerLost"}
        assert program.line() == said[how]
        assert [one.word for one in children if not one.gone(AT_ONCE)] == []
        ended = program.end()
        assert (ended.code, ended.errors) == (0, "")


# ------------------------------------------------------------------------------ daemons


def lives_on(daemon: Watched) -> None:
    """See that a process is there, and end it."""
    assert not daemon.gone(0)
    os.kill(daemon.pid, signal.SIGKILL)


@pytest.mark.leaks_expected("a daemon is adopted, and fetched, by whoever does that on this system")
@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_a_daemon_outlives_the_parent(method: str) -> None:
    """What a task has cut loose on purpose, by two forks and a session, is not ours to end."""
    with Program(BUSY, "process", method, "with_daemon") as program:
        watched = {one.word: one for one in (program.watched(), program.watched())}
        program.kill()
        assert watched["with_daemon"].gone(AT_ONCE)
        program.end(AT_ONCE)  # parent, keeper and worker have gone, and done what they do before
        lives_on(watched["daemon"])


@pytest.mark.leaks_expected("a daemon is adopted, and fetched, by whoever does that on this system")
@pytest.mark.parametrize("how", ["killed", "late", "in order"])
def test_a_daemon_outlives_its_worker(how: str) -> None:
    """The same when the worker alone ends: killed, past a time limit, or with the pool."""
    script = """
from tests.support.stuck import daemonize, stuck, tell
import os, signal
pool = Pool(1, backend=BACKEND)
how = sys.argv[2]
if how == "late":
    print(type(pool.options(time_limit=0.5).submit(stuck, "with_daemon").exception()).__name__)
else:
    pool.submit(daemonize).result()
if how == "killed":
    print(type(pool.submit(os.kill, pool.submit(os.getpid).result(), signal.SIGKILL).exception()).__name__)
pool.shutdown()
"""
    with Program(script, "process", how) as program:
        told = [program.watched() for _ in range(2 if how == "late" else 1)]
        watched = {one.word: one for one in told}
        if how == "late":
            assert watched["with_daemon"].gone(AT_ONCE)
        ended = program.end()
        said = {"killed": ["WorkerLost"], "late": ["TimeLimitExceeded"], "in order": []}[how]
        assert (ended.lines, ended.errors, ended.code) == (said, "", 0)
        lives_on(watched["daemon"])


if sys.platform != "linux":  # the promise beyond process groups needs /proc
    del TOLD["with_session"]
