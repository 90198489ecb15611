"""Leaks: pools opened and closed by the hundred, and mixed work for a while, leave everything where it was.

Threads, descriptors, processes (zombies too), memory and names of shared memory.
What the library keeps on purpose (one keeper, one arena) is there before counting begins.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.leaks import leaks_since, take_picture
from tests.support import tasks
from tests.support.gates import DEADLINE
from tests.support.queues import until
from workpool import Pool, Queue, WorkpoolError

pytestmark = pytest.mark.heavy

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="/proc tells of memory and descriptors"
)
MOST_GROWTH = 20_000_000  # bytes of the parent, as promised


def resident() -> int:
    """Tell how much memory this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def shared() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if "workpool" in name}


def open_and_close(count: int, backend: Any, **settings: Any) -> None:
    """Open, use and close so many pools, each in one of several ways."""
    for n in range(count):
        pool = Pool(2, backend=backend, **settings)
        task = pool.submit(tasks.double, n)
        if n % 4 == 0:
            assert task.result(DEADLINE) == 2 * n
            pool.shutdown()
        elif n % 4 == 1:
            with pool:
                assert sum(pool.map(tasks.double, range(4))) == 12
        elif n % 4 == 2:
            pool.kill()
        else:
            pool.shutdown(wait=False)
            del pool


def pools_leave_nothing(count: int, backend: Any, **settings: Any) -> int:
    """Compare what there is before and after so many pools; gives how much memory grew."""
    open_and_close(8, backend, **settings)  # what is kept on purpose is there from now on
    gc.collect()
    names, before, picture = shared(), resident(), take_picture()
    open_and_close(count, backend, **settings)
    assert leaks_since(picture) == []
    assert shared() == names
    gc.collect()
    growth = resident() - before
    assert growth < MOST_GROWTH
    return growth


@linux_only
@pytest.mark.parametrize(
    ("backend", "count"), [("thread", 1_000), ("inline", 1_000), ("process", 100)]
)
def test_many_pools_leave_nothing(backend: str, count: int) -> None:
    """A thousand pools of threads or a hundred of processes come and go without a trace."""
    pools_leave_nothing(count, backend)


@linux_only
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pools_of_every_start_method_leave_nothing(method: str) -> None:
    """No watcher of a forked worker stays behind as a zombie."""
    pools_leave_nothing(12, "process", start_method=method)


@linux_only
@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("backend", "count"), [("thread", 10_000), ("process", 1_000)])
def test_thousands_of_pools_leave_nothing(
    backend: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for ten times as many."""
    began = time.monotonic()
    growth = pools_leave_nothing(count, backend)
    with capsys.disabled():
        seconds = time.monotonic() - began
        print(f"\n{count} pools of {backend}: {seconds:.1f} s, {growth / 1e6:+.1f} MB")


# --------------------------------------------------------------------------------- soak


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def die_once(path: str) -> int:
    """Die at the first attempt, and run through at the second."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return 1
    die()


def hang(_: int = 0) -> None:
    threading.Event().wait(DEADLINE)


class Soak:
    """A random mix of everything that tasks do, again and again."""

    def __init__(self, backend: Any, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.backend = backend
        self.folder = folder
        self.rounds = 0
        self.kinds: dict[str, int] = {}
        self.doings = [
            self.results,
            self.errors,
            self.lambdas,
            self.large,
            self.maps,
            self.closed_maps,
            self.cancelled,
            self.shared,
            self.unpicklable,
        ]
        if backend == "process":
            self.doings += [self.deaths, self.retried, self.limits, self.killed]
        else:
            self.doings += [self.thread_limits]

    def run(self, seconds: float) -> None:
        """Do it for so long, with a new pool now and then."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with Pool(2, backend=self.backend) as pool:
                for _ in range(30):
                    doing = self.random.choice(self.doings)
                    self.kinds[doing.__name__] = self.kinds.get(doing.__name__, 0) + 1
                    doing(pool)
                    self.rounds += 1
                pool.join(DEADLINE)
                assert pool.unfinished == 0

    def results(self, pool: Pool) -> None:
        submitted = [pool.submit(tasks.double, n) for n in range(50)]
        assert [task.result(DEADLINE) for task in submitted] == [2 * n for n in range(50)]

    def errors(self, pool: Pool) -> None:
        for kind in (ValueError, tasks.TwoArguments, SystemExit):
            error = pool.submit(tasks.fail_with, kind, "x", 1).exception(DEADLINE)
            assert type(error) is kind

    def lambdas(self, pool: Pool) -> None:
        offset = self.random.randrange(1 << 40)
        assert pool.submit(lambda n: n + offset, 1).result(DEADLINE) == offset + 1

    def large(self, pool: Pool) -> None:
        data = self.random.randbytes(self.random.randrange(1, 3_000_000))
        assert pool.submit(tasks.echo, data).result(DEADLINE) == data

    def maps(self, pool: Pool) -> None:
        assert sum(pool.map(tasks.double, range(500))) == 249_500
        assert max(pool.map(tasks.double, iter(range(50)), ordered=False, buffersize=5)) == 98

    def closed_maps(self, pool: Pool) -> None:
        endless = pool.map(tasks.double, iter(int, 1))
        assert next(endless) == 0
        endless.close()
        assert next(pool.map(tasks.double, range(1000))) == 0

    def cancelled(self, pool: Pool) -> None:
        for task in [pool.submit(tasks.double, n) for n in range(50)]:
            task.cancel()

    def shared(self, pool: Pool) -> None:
        counter, box, lock = pool.counter(), pool.shared([0]), pool.lock()
        queue: Queue[int] = pool.queue()
        with lock:
            box.set([1, 2])
        queue.put(counter.add(3))
        assert (pool.submit(tasks.echo, counter).result(DEADLINE).value, queue.get()) == (3, 3)

    def unpicklable(self, pool: Pool) -> None:
        pool.submit(tasks.echo_none, threading.Lock()).exception(DEADLINE)
        pool.submit(tasks.make_lock).exception(DEADLINE)

    def deaths(self, pool: Pool) -> None:
        assert isinstance(pool.submit(die).exception(DEADLINE), WorkpoolError)

    def retried(self, pool: Pool) -> None:
        path = self.folder / f"once-{self.rounds}"
        path.touch()
        assert pool.options(retries=1).submit(die_once, str(path)).result(DEADLINE) == 1

    def limits(self, pool: Pool) -> None:
        limited = pool.options(time_limit=0.02)
        assert isinstance(limited.submit(hang).exception(DEADLINE), TimeoutError)

    def killed(self, pool: Pool) -> None:
        task = pool.submit(hang)
        # On its way to its worker it counts as running, and has none to end.
        until(lambda: task.ran_for > 0)
        assert task.cancel(kill=True)
        with suppress(CancelledError):
            task.result(DEADLINE)

    def thread_limits(self, pool: Pool) -> None:
        assert pool.options(time_limit=DEADLINE).submit(tasks.double, 1).result(DEADLINE) == 2


def soak(backend: Any, seconds: float, seed: int, folder: Path) -> str:
    """Soak, compare what there is before and after, and say what was done."""
    work = Soak(backend, seed, folder)
    work.run(1.0)
    gc.collect()
    names, before, picture = shared(), resident(), take_picture()
    work.run(seconds)
    assert leaks_since(picture) == []
    assert shared() == names
    gc.collect()
    growth = resident() - before
    assert growth < MOST_GROWTH
    after = take_picture()
    return (
        f"{backend}, seed {seed}: {work.rounds} rounds of {work.kinds}; {growth / 1e6:+.1f} MB; "
        f"threads {len(picture.threads)} to {len(after.threads)}, processes {len(picture.processes)} to "
        f"{len(after.processes)}, descriptors {len(picture.descriptors)} to {len(after.descriptors)}"
    )


@linux_only
@pytest.mark.parametrize(("backend", "seconds"), [("thread", 3.0), ("process", 6.0)])
def test_mixed_work_leaves_nothing(backend: str, seconds: float, tmp_path: Path) -> None:
    """Results, errors, large payloads, kills, retries, limits, closed maps: all is as it was before."""
    print(soak(backend, seconds, random.randrange(1 << 30), tmp_path))


@linux_only
@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", ["thread", "process"])
def test_an_hour_of_mixed_work_leaves_nothing(
    backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for a minute, in which there is more of it than in an hour of most programs."""
    said = soak(backend, 60.0, random.randrange(1 << 30), tmp_path)
    with capsys.disabled():
        print("\n" + said)
