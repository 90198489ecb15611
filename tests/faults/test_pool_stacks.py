"""Pool.stacks() shows where each worker stands, whatever it hangs in; a crash leaves its last stack in the error."""

from __future__ import annotations

import os
import pickle
import signal
from functools import partial

import pytest

from tests.faults.conftest import MakePool
from tests.support import tasks
from tests.support.backends import KINDS, Kind
from tests.support.fatal import WAYS, crashing_child, die_if, hang, hang_item, nap
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.lives import handle_of
from tests.support.queues import until
from tests.support.scripts import printed_by
from workpool import JoinTimeout, Pool, WorkerLost, WorkerStack

METHODS = ["forkserver", "spawn", "fork"]
HOW = ["C code", "C code, deaf", "lock", "loop"]


def stack_of(pool: Pool, index: int = 0) -> WorkerStack:
    """Give the stack of one worker."""
    found = pool.stacks()
    assert [stack.worker for stack in found] == list(range(len(found)))
    return found[index]


@pytest.mark.parametrize("how", HOW)
def test_a_process_that_hangs_shows_its_stack(pool: Pool, gate: Gate, how: str) -> None:
    """Also one whose GIL is held by C code, or that blocks every signal."""
    pool.submit(hang, gate.path, how)
    assert gate.arrival() == how
    until(
        lambda: "sleep" in stack_of(pool).text or "acquire" in stack_of(pool).text or how == "loop"
    )
    stack = stack_of(pool)
    assert stack.task == "task 0 (hang)"
    assert stack.running_for > 0
    assert "fatal.py" in stack.text
    assert "in hang" in stack.text.splitlines()[0]
    assert "workpool/ipc" not in stack.text
    assert str(stack).startswith("worker 0 runs task 0 (hang) for ")
    pool.kill()


@pytest.mark.parametrize("method", METHODS)
def test_whatever_the_start_method(make_pool: MakePool, gate: Gate, method: str) -> None:
    """Processes of all start methods can be asked."""
    pool = make_pool(2, start_method=method)
    pool.submit(hang, gate.path, "C code")
    gate.arrival()
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    busy = [stack for stack in pool.stacks() if stack.task]
    assert [stack.task for stack in busy] == ["task 0 (hang)"]
    assert "in hang" in busy[0].text
    pool.kill()


def test_an_item_of_a_map_call_is_named(pool: Pool, gate: Gate) -> None:
    """The item that runs is named, as in every message."""
    pool.map(partial(hang_item, gate.path), range(3), chunksize=3)
    gate.arrival()
    stack = stack_of(pool)
    assert stack.task == "item 1 of map(hang_item)"
    assert "in hang_item" in stack.text
    pool.kill()


def test_an_initializer_that_hangs_shows_its_stack(make_pool: MakePool, gate: Gate) -> None:
    """A worker that never becomes ready can be asked as well."""
    pool = make_pool(1, initializer=hang, initargs=(gate.path, "lock"))
    pool.submit(tasks.double, 1)
    gate.arrival()
    stack = stack_of(pool)
    assert (stack.task, stack.running_for) == ("", 0.0)
    assert "in hang" in stack.text
    assert str(stack).startswith("worker 0 runs no task\n")
    pool.kill()


def test_asking_disturbs_no_task(pool: Pool, gate: Gate) -> None:
    """A system call that a signal would end goes on, however often one asks."""
    task = pool.submit(nap, gate.path, 1)
    gate.arrival()
    while not task.done():
        assert len(pool.stacks()) == 1
    assert task.result(0) == 0


def test_a_deep_recursion_shows_its_latest_calls(pool: Pool, gate: Gate) -> None:
    """Though no more are written down than the task alone has made."""
    pool.submit(tasks.hold_below, gate.path, 300)
    gate.arrival()
    until(lambda: "in stop" in stack_of(pool).text)
    assert stack_of(pool).text.count("in hold_below") > 50
    gate.open()


def test_an_idle_worker_has_no_stack(pool: Pool) -> None:
    """A worker that waits for work says so."""
    pool.submit(tasks.double, 1).result(DEADLINE)
    until(lambda: stack_of(pool).text == "")  # it may still be on its way back from the task
    stack = stack_of(pool)
    assert (stack.task, stack.text) == ("", "")
    assert str(stack) == "worker 0 waits for work"


def test_a_worker_that_the_system_stopped_is_told(pool: Pool) -> None:
    """It cannot answer; the call comes back all the same, and asking later works again."""
    pid = pool.submit(os.getpid).result(DEADLINE)
    os.kill(pid, signal.SIGSTOP)
    assert "(no answer" in stack_of(pool).text
    os.kill(pid, signal.SIGCONT)
    until(lambda: stack_of(pool).text == "")


def test_many_may_ask_while_workers_die(make_pool: MakePool) -> None:
    """Whoever asks gets an answer, and no worker is harmed by a question that comes too early or too late."""
    pool = make_pool(2)
    pool.submit(tasks.double, 1).result(DEADLINE)

    def ask() -> None:
        for _ in range(100):
            for stack in pool.stacks():
                assert str(stack)

    asking = [in_background(ask) for _ in range(3)]
    deaths = 0
    while not all(each.ended for each in asking):
        os.kill(handle_of(pool).pid, signal.SIGKILL)
        deaths += 1
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    for each in asking:
        each.result()
    until(lambda: pool.stats().lost == deaths)


@pytest.mark.parametrize("backend", ["thread", "inline"])
def test_threads_show_their_stacks(make_pool: MakePool, gate: Gate, backend: str) -> None:
    """Threads of this process are looked at, whoever's they are."""
    pool = make_pool(1, backend=backend)
    running = in_background(pool.submit, tasks.hold, gate.path, 5)
    gate.arrival()
    stack = stack_of(pool)
    assert stack.task == "task 0 (hold)"
    assert "in hold" in stack.text.splitlines()[0]
    assert "in stop" in stack.text
    gate.open()
    assert running.result().result(DEADLINE) == 5


# ------------------------------------------------------------------- what hangs, by name


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
@pytest.mark.parametrize("as_item", [False, True], ids=["task", "item"])
def test_a_join_names_what_runs(make_pool: MakePool, gate: Gate, kind: Kind, as_item: bool) -> None:
    """JoinTimeout tells task or item, and for how long it has been running."""
    pool = make_pool(1, backend=kind.name)
    fn = tasks.holding(gate.path, 1)

    def submit() -> object:
        return pool.map(fn, [0, 1, 2], chunksize=3) if as_item else pool.submit(fn, 1)

    submitted = in_background(submit)
    gate.arrival()
    with pytest.raises(JoinTimeout, match="running: ") as caught:
        pool.join(0.05)
    error = caught.value
    ((name, seconds),) = error.running
    assert name == ("item 1 of map(_hold_item)" if as_item else "task 0 (_hold_item)")
    assert seconds > 0
    assert f"{name} for " in str(error)
    assert error.unfinished == pool.unfinished >= 1
    gate.open()
    submitted.result()
    pool.join(DEADLINE)


# ----------------------------------------------------------------------- crashes


@pytest.mark.parametrize("way", ["SIGSEGV", "null read", "abort", "SIGFPE"])
def test_a_crash_leaves_its_last_stack(pool: Pool, way: str) -> None:
    """WorkerLost has it, and its message says where that was."""
    error = pool.submit(die_if, os.devnull, 1, way, 1).exception(DEADLINE)
    assert isinstance(error, WorkerLost)
    assert error.exitcode == WAYS[way][1]
    assert "in die_if" in error.stack.splitlines()[0]
    assert "in by_" in error.stack
    assert " in by_" in str(error) or "string_at" in str(error)
    assert pickle.loads(pickle.dumps(error)).stack == error.stack


@pytest.mark.parametrize("way", ["SIGKILL", "os._exit"])
def test_other_deaths_leave_none(pool: Pool, way: str) -> None:
    """What is not a crash has no last stack, also when a child of the task crashed before."""
    pool.submit(crashing_child).result(DEADLINE)
    error = pool.submit(die_if, os.devnull, 1, way, 1).exception(DEADLINE)
    assert isinstance(error, WorkerLost)
    assert error.stack == ""


@pytest.mark.parametrize("method", METHODS)
def test_a_crash_prints_nothing(method: str) -> None:
    """No stack of a worker appears on the terminal, also where the program has faulthandler on."""
    kind = next(kind for kind in KINDS if kind.name == "process")
    script = f"""
        from tests.support.fatal import die_if
        if __name__ == "__main__":
            with Pool(1, backend=BACKEND, start_method={method!r}) as pool:
                for way in ("null read", "abort"):
                    error = pool.submit(die_if, "/dev/null", 1, way, 1).exception()
                    print(error.exitcode, "in die_if" in error.stack)
    """
    assert printed_by(kind, script, flags=("-X", "faulthandler")) == ["-11 True", "-6 True"]
