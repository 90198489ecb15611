"""backend="interpreter": what is its own, beside the contract that every backend keeps."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.support.gates import DEADLINE, Gate, stop
from tests.support.tasks import call, double, run_own_pool
from workpool import NotPicklable, Pool, TimeLimitExceeded, Unsupported
from workpool._compat import has_interpreters
from workpool.backends.interpreter import backend, strays
from workpool.ipc.journal import Journal, make_journal
from workpool.ipc.outbox import VALUE
from workpool.ipc.voiding import VoidableJournal, VoidableOutbox, WrittenOff

needs_interpreters = pytest.mark.skipif(
    not has_interpreters(), reason="this Python has no concurrent.interpreters"
)


@pytest.fixture
def make_pool() -> Generator[Callable[..., Pool]]:
    """Give a maker of pools, which are killed after the test."""
    pools: list[Pool] = []

    def make(*args: Any, **settings: Any) -> Pool:
        pools.append(Pool(*args, backend="interpreter", **settings))
        return pools[-1]

    yield make
    for pool in pools:
        pool.kill()
        pool.shutdown()


# ------------------------------------------------------------------ where there are none


def test_an_older_python_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without interpreters the pool is refused at the call; the message names Python and another backend."""
    monkeypatch.setattr(backend, "has_interpreters", lambda: False)
    with pytest.raises(Unsupported, match=r'needs Python 3\.14 or newer.*Use backend="process"'):
        Pool(1, backend="interpreter")


# ------------------------------------------------------------------------- isolation

_seen: list[int] = []


def interpreter_id(_: object = None) -> int:
    interpreters: Any = import_module("concurrent.interpreters")
    number: int = interpreters.get_current().id
    return number


def see(n: int) -> list[int]:
    _seen.append(n)
    return _seen


def who(gate: str) -> tuple[int, int, int]:
    stop(gate)
    return interpreter_id(), os.getpid(), threading.get_ident()


@needs_interpreters
def test_each_worker_has_an_interpreter_of_its_own(make_pool: Callable[..., Pool]) -> None:
    """Two workers are two interpreters and two threads of this very process, neither of them the caller's."""
    pool = make_pool(2)
    with Gate() as gate:
        tasks = [pool.submit(who, gate.path) for _ in range(2)]
        gate.arrivals(2)
    found = [task.result(DEADLINE) for task in tasks]
    assert {pid for _, pid, _ in found} == {os.getpid()}
    assert len({interpreter_id(), *(number for number, _, _ in found)}) == 3
    assert len({threading.get_ident(), *(ident for _, _, ident in found)}) == 3


@needs_interpreters
def test_globals_are_a_workers_own_and_stay(make_pool: Callable[..., Pool]) -> None:
    """What a task keeps in its module is there for the next one, and is not seen by the caller."""
    pool = make_pool(1)
    assert pool.submit(see, 1).result(DEADLINE) == [1]
    assert pool.submit(see, 2).result(DEADLINE) == [1, 2]
    assert _seen == []


@needs_interpreters
def test_interpreters_are_gone_with_their_pool() -> None:
    """After shutdown there is no interpreter but those from before."""
    interpreters: Any = import_module("concurrent.interpreters")
    before = {each.id for each in interpreters.list_all()}
    with Pool(2, backend="interpreter") as pool:
        assert list(pool.map(double, range(10))) == list(range(0, 20, 2))
        assert {each.id for each in interpreters.list_all()} > before
    assert {each.id for each in interpreters.list_all()} == before


def imports_numpy(_: object = None) -> object:
    return import_module("numpy").arange(3).sum()


@needs_interpreters
@pytest.mark.parametrize("how", ["in the task", "while it is unpickled"])
def test_a_module_for_the_main_interpreter_alone_is_that_tasks_error(
    make_pool: Callable[..., Pool], how: str
) -> None:
    """A task that needs numpy fails with a way out; the worker goes on."""
    numpy = pytest.importorskip("numpy")
    pool = make_pool(1)
    task = pool.submit(imports_numpy) if how == "in the task" else pool.submit(call, numpy.sum, 1)
    error = task.exception(DEADLINE)
    assert isinstance(error, ImportError if how == "in the task" else NotPicklable)
    told = " ".join([str(error), *getattr(error, "__notes__", ())])
    assert 'use backend="process" for it' in told
    assert pool.submit(double, 1).result(DEADLINE) == 2


@needs_interpreters
def test_large_results_and_arguments_travel(make_pool: Callable[..., Pool]) -> None:
    """A hundred megabytes go there and come back."""
    pool = make_pool(1)
    data = bytes(1000) * 100_000
    assert pool.submit(bytes.upper, data).result(DEADLINE) == data


# ---------------------------------------------------------------------- being written off


def hold_the_interpreter(gate: str, milliseconds: int) -> None:
    stop(gate)
    ctypes.PyDLL(None).usleep(1000 * milliseconds)  # house: sleep - with the GIL of its interpreter


def note(path: str, n: int) -> int:
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{n}\n")
    return n


@needs_interpreters
def test_c_code_that_holds_its_interpreter_is_given_up_in_time(
    make_pool: Callable[..., Pool],
) -> None:
    """A task in C code that lets nothing else run there costs the others nothing."""
    pool = make_pool(1)
    pool.submit(see, 1).result(DEADLINE)  # this module is loaded there: the clock runs while it is
    with Gate() as gate:
        task = pool.options(time_limit=0.3).submit(hold_the_interpreter, gate.path, 5_000)
        gate.arrival()
    began = monotonic()
    assert isinstance(task.exception(DEADLINE), TimeLimitExceeded)
    assert pool.submit(double, 1).result(DEADLINE) == 2
    assert monotonic() - began < 4.8, "before the C code let go"
    assert pool.stats().written_off == 1
    _wait_for_strays()


@needs_interpreters
def test_nothing_runs_twice_when_a_worker_is_written_off(
    make_pool: Callable[..., Pool], tmp_path: Path
) -> None:
    """What was sent along with a task that is given up runs once, in another worker."""
    path = str(tmp_path / "notes")
    pool = make_pool(1)
    noted = [
        pool.submit(note, path, n).result(DEADLINE) for n in range(50, 60)
    ]  # known to be short
    with Gate() as gate:
        held = pool.submit(hold_the_interpreter, gate.path, 600)
        gate.arrival()
        others = [pool.submit(note, path, n) for n in range(50)]
        threading.Thread(target=gate.open).start()
        assert held.cancel(kill=True)
    assert [task.result(DEADLINE) for task in others] == list(range(50))
    pool.shutdown()
    _wait_for_strays()
    assert sorted(map(int, Path(path).read_text().split())) == [*range(50), *noted]


def _wait_for_strays() -> None:
    for host in list(strays._strays):
        assert host.ended.wait(DEADLINE)


@pytest.fixture
def journal() -> Generator[VoidableJournal]:
    """Give a journal as a worker has it."""
    made = VoidableJournal(make_journal())
    yield made
    made.close()


def test_a_void_worker_begins_nothing(journal: VoidableJournal) -> None:
    """Once it is written off no call is begun, alone or in a slice; one that was noted is not run."""
    journal.begin(0, 1)
    journal.declare_void()
    with pytest.raises(WrittenOff):
        journal.begin(1, 2)
    with pytest.raises(WrittenOff):
        journal.begin_slice(2, 5, 3, int)
    assert Journal.last_words(journal)[0] == 1


def test_a_void_worker_tells_nothing_but_its_last_words(journal: VoidableJournal) -> None:
    """After its last words no outcome leaves a worker that is written off."""
    r, w = os.pipe()
    try:
        outbox = VoidableOutbox(w, journal)
        outbox.add(0, VALUE, b"", 1, 2, more=True)
        journal.declare_void()
        outbox.give_up((24, 0))
        assert os.read(r, 4096)
        tells: list[Callable[[], object]] = [
            lambda: outbox.add(1, VALUE, b"", 1, 2, more=False),
            lambda: outbox.send((10,)),
            outbox.flush,
        ]
        for tell in tells:
            with pytest.raises(WrittenOff):
                tell()
    finally:
        os.close(r)
        os.close(w)


# --------------------------------------------------------------------------- shared state


def try_to_take(semaphore: Any, lock: Any) -> tuple[bool, bool]:
    return semaphore.acquire(timeout=0.5), lock.acquire(timeout=0.1)


@needs_interpreters
def test_what_the_caller_holds_is_not_free_in_a_worker(make_pool: Callable[..., Pool]) -> None:
    """A permit and a lock that the caller has are not taken for those of a dead process."""
    pool = make_pool(1)
    semaphore, lock = pool.semaphore(1), pool.lock()
    with semaphore, lock:
        assert pool.submit(try_to_take, semaphore, lock).result(DEADLINE) == (False, False)
    taken = pool.submit(try_to_take, semaphore, lock).result(DEADLINE)
    assert taken == (True, True)
    assert not semaphore.acquire(timeout=0.3), "the worker's permit is not that of a dead process"


def count_up(counter: Any, times: int) -> None:
    for _ in range(times):
        counter.add()


@needs_interpreters
def test_no_increment_is_lost_between_interpreters(make_pool: Callable[..., Pool]) -> None:
    """Interpreters that count side by side, and the caller with them, lose nothing."""
    pool = make_pool(3)
    counter = pool.counter()
    tasks = [pool.submit(count_up, counter, 2_000) for _ in range(3)]
    count_up(counter, 2_000)
    for task in tasks:
        task.result(DEADLINE)
    assert counter.value == 8_000


# ------------------------------------------------------------------------- whole programs

_PROGRAM = """
import atexit, sys, threading, time
from workpool import Pool, TimeLimitExceeded

class Odd(Exception):
    pass

def of_main(n):
    if n % 2:
        raise Odd(n)
    return Odd, n

seen = []

def remember(n):
    seen.append(n)
    return seen

def goes_on(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            while time.monotonic() < until:
                pass
        except BaseException:
            pass

def gives_in():
    while True:
        pass

if __name__ == "__main__":
    atexit.register(lambda: print("atexit", flush=True))
    with Pool(1, backend="interpreter") as pool:
{}
    print("end")
    sys.exit(3)
"""


def run(body: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "program.py"
    path.write_text(_PROGRAM.format("\n".join(f"        {line}" for line in body.splitlines())))
    return subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        capture_output=True,
        text=True,
        timeout=DEADLINE + 20.0,
        check=False,
    )


@needs_interpreters
def test_what_is_defined_in_main_travels_both_ways(tmp_path: Path) -> None:
    """Functions, classes and errors of the program are the program's own, there and back; globals are a worker's."""
    done = run(
        "assert pool.submit(of_main, 2).result(20) == (Odd, 2)\n"
        "assert isinstance(pool.submit(of_main, 1).exception(20), Odd)\n"
        "assert [pool.submit(remember, n).result(20) for n in (1, 2)] == [[1], [1, 2]]\n"
        "assert seen == []",
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "end\natexit\n", "")


@needs_interpreters
def test_a_program_ends_with_its_own_status_if_what_was_given_up_gives_in(tmp_path: Path) -> None:
    """A task past its limit that ends by the exception leaves no trace in the program's end."""
    done = run(
        "pool.submit(of_main, 2).result(20)  # the program is imported there\n"
        "assert pool.options(time_limit=0.1).submit(gives_in).exception(20)",
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "end\natexit\n", "")


@needs_interpreters
def test_a_program_says_so_if_what_was_given_up_goes_on(tmp_path: Path) -> None:
    """A task that takes no notice does not keep the program: it ends at once, told, and with status 1."""
    done = run(
        "pool.submit(of_main, 2).result(20)  # the program is imported there\n"
        "assert pool.options(time_limit=0.1).submit(goes_on, 600).exception(20)",
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (1, "end\natexit\n")
    assert "still running in an interpreter, which cannot be ended" in done.stderr
    assert done.stderr.count("\n") == 1


@needs_interpreters
def test_stacks_of_threads_are_shown_beside_interpreters(make_pool: Callable[..., Pool]) -> None:
    """While interpreters run, a pool of threads tells where its workers stand, and touches no frame of theirs."""
    pool = make_pool(1)
    with Gate() as gate, Pool(1) as threads:
        spinning = pool.submit(stop, gate.path, "interpreter")
        waiting = threads.submit(stop, gate.path, "thread")
        gate.arrivals(2)
        assert "in stop" in str(threads.stacks()[0])
        assert "in stop" in str(pool.stacks()[0])
        gate.open()
        waiting.result(DEADLINE)
        spinning.result(DEADLINE)


@needs_interpreters
@pytest.mark.parametrize("inner", ["thread", "process", "interpreter"])
def test_a_task_may_have_pools_of_its_own(make_pool: Callable[..., Pool], inner: str) -> None:
    """A pool of any kind works in a task, also one that is never shut down."""
    pool = make_pool(1)
    assert pool.submit(run_own_pool, inner, 3).result(DEADLINE) == [0, 2, 4]
    assert pool.submit(let_go_of_a_pool, inner).result(DEADLINE) == 2


def let_go_of_a_pool(backend: Any) -> int:
    return Pool(1, backend=backend).submit(double, 1).result(DEADLINE)
