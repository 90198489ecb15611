"""Programs that block signals, as those do that wait for them: workers hear theirs, and deaths are told."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pytest

from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE
from tests.support.queues import until
from tests.support.scripts import printed_by
from workpool import Pool, WorkerLost
from workpool.ipc import keeper
from workpool.ipc.launch import WorkerHandle
from workpool.ipc.watch import Watch

PROCESS = Kind("process", frozenset())


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_the_death_of_a_worker_is_told(method: str) -> None:
    """A program that has blocked SIGCHLD and SIGTERM, to wait for them, hears of it; workers have none blocked."""
    script = f"""
    import signal
    blocked = {{signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}}
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    with Pool(1, backend="process", start_method={method!r}) as pool:
        print(blocked & pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result(10))
        print(type(pool.submit(tasks.die).exception(10)).__name__)
        print(pool.submit(tasks.double, 2).result(10))
    """
    assert printed_by(PROCESS, script, timeout=DEADLINE) == ["set()", "WorkerLost", "4"]


def stop_the_keeper_and_die() -> None:
    os.kill(os.getppid(), signal.SIGSTOP)
    tasks.die()


@pytest.mark.skipif(sys.platform != "linux", reason="the driver alone reads results elsewhere")
@pytest.mark.parametrize("capture", [False, True])
def test_who_waits_for_a_death_that_is_told_late_sleeps(
    monkeypatch: pytest.MonkeyPatch, *, capture: bool
) -> None:
    """Between the end of a worker's pipe and the word of its death a wait ends in time, and nobody spins."""
    reads: list[WorkerHandle] = []
    wakes: list[set[int]] = []
    wait = Watch.wait
    receive = WorkerHandle.receive

    def counted(handle: WorkerHandle) -> list[Any]:
        reads.append(handle)
        return receive(handle)

    def awake(watch: Watch, seconds: float | None, **more: Any) -> set[int]:
        wakes.append(wait(watch, seconds, **more))
        return wakes[-1]

    monkeypatch.setattr(WorkerHandle, "receive", counted)
    monkeypatch.setattr(Watch, "wait", awake)
    with Pool(1, backend="process", capture=capture) as pool:
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
        reads.clear()
        wakes.clear()
        task = pool.submit(stop_the_keeper_and_die)
        try:
            for _ in range(2):  # by this thread, then by the driver
                with pytest.raises(TimeoutError):
                    task.exception(0.2)
            until(lambda: bool(reads) and reads[0].ended)
            with pytest.raises(TimeoutError):
                task.exception(0.1)
        finally:
            os.kill(keeper.keeper._pid, signal.SIGCONT)
        assert isinstance(task.exception(DEADLINE), WorkerLost)
        assert len(reads) + len(wakes) < 40
