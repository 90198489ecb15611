"""Array: numbers that all workers see, without a copy, and without anything left of them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.gates import DEADLINE, Gate, stop
from workpool import Pool
from workpool._compat import LINUX
from workpool.errors import NotPicklable, SharedStateLost, WorkerLost, WouldDeadlock
from workpool.ipc import available, nameless
from workpool.ipc.shortage import is_shortage
from workpool.shared import Array, Scope
from workpool.shared import array as array_module

fork = multiprocessing.get_context("fork")
spawn = multiprocessing.get_context("spawn")
KINDS = [*array_module._TYPES, *array_module._NUMPYS]


pytestmark = pytest.mark.usefixtures("arena")


@pytest.fixture
def without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on a machine where numpy is not installed."""
    monkeypatch.setattr(array_module, "_numpy", lambda: None)


# -------------------------------------------------------------------------- what it is


@pytest.mark.parametrize("dtype", KINDS)
def test_it_is_a_numpy_array_of_its_memory(scope: Scope, dtype: str) -> None:
    """What is written to one view is read from the next: no copy is made."""
    numpy: Any = pytest.importorskip("numpy")
    array = Array((2, 3), dtype, scope=scope)
    assert not array.view.any()
    array.view[1, 2] = 1
    assert (array.view.dtype, array.view.shape) == (numpy.dtype(dtype), (2, 3))
    assert array[1, 2] == numpy.asarray(array)[1, 2] == 1
    assert numpy.shares_memory(numpy.asarray(array), array.view)
    assert array.nbytes == array.view.nbytes
    assert (array.shape, array.dtype, len(array)) == ((2, 3), dtype, 2)


def test_numpy_may_ask_for_a_copy(scope: Scope) -> None:
    """Another type, or a copy where it is asked for, is a copy; one that is not wanted is refused."""
    numpy: Any = pytest.importorskip("numpy")
    array = Array(2, "int32", scope=scope)
    copied = numpy.array(array, dtype="float64")
    copied[0] = 1.5
    assert array[0] == 0
    with pytest.raises(ValueError, match="cannot be shown as float64 without a copy"):
        array.__array__("float64", copy=False)


@pytest.mark.usefixtures("without_numpy")
@pytest.mark.parametrize("dtype", array_module._TYPES)
def test_without_numpy_it_is_a_memoryview(scope: Scope, dtype: str) -> None:
    """Numbers are read and written by index, of one direction or several."""
    array = Array((2, 3), dtype, scope=scope)
    array[1, 2] = 1
    view: Any = array.view
    rows: Any = view.tolist()
    assert isinstance(array.view, memoryview)
    assert (view.shape, rows) == ((2, 3), [[0, 0, 0], [0, 0, 1]])
    assert array[1, 2] == 1
    line = Array(4, dtype, scope=scope)
    line[3] = 1
    assert list(line) == [0, 0, 0, 1]


@pytest.mark.parametrize(("kind", "name"), [(float, "float64"), (int, "int64"), (bool, "bool")])
def test_types_of_python_have_a_name(scope: Scope, kind: type, name: str) -> None:
    """Python's own number types stand for those of 64 bits."""
    assert Array(1, kind, scope=scope).dtype == name
    assert repr(Array((1, 2), kind, scope=scope)) == f"<Array (1, 2) {name}, scope={scope!r}>"


def test_types_of_numpy_are_understood(scope: Scope) -> None:
    """What numpy takes for a type is one, if it is among those that can be shared."""
    numpy: Any = pytest.importorskip("numpy")
    assert Array(1, numpy.float32, scope=scope).dtype == "float32"
    assert Array(1, numpy.dtype("u2"), scope=scope).dtype == "uint16"
    assert Array(1, "<i8" if sys.byteorder == "little" else ">i8", scope=scope).dtype == "int64"


@pytest.mark.parametrize(
    "dtype", ["text", "O", object, "U5", ">i8" if sys.byteorder == "little" else "<i8", None]
)
def test_other_types_are_refused(scope: Scope, dtype: Any) -> None:
    """Objects, texts, other byte orders: the message lists what there is."""
    with pytest.raises((TypeError, ValueError), match="dtype must be one of bool, int8"):
        Array(1, dtype, scope=scope)


@pytest.mark.usefixtures("without_numpy")
def test_types_that_only_numpy_has_need_it(scope: Scope) -> None:
    """Complex numbers are refused without numpy, and the message says why."""
    with pytest.raises(ValueError, match="these three need numpy"):
        Array(1, "complex128", scope=scope)


@pytest.mark.parametrize("shape", [0, -1, (), (2, 0), (2, -3)])
def test_empty_shapes_are_refused(scope: Scope, shape: Any) -> None:
    """An array has at least one number."""
    with pytest.raises(ValueError, match="shape must have one direction or more"):
        Array(shape, scope=scope)


@pytest.mark.parametrize("shape", [10**30, (10**10, 10**10)])
def test_shapes_beyond_all_memory_are_refused(scope: Scope, shape: Any) -> None:
    """By name, and on every scope."""
    with pytest.raises(ValueError, match="shape must be of at most"):
        Array(shape, scope=scope)


@pytest.mark.parametrize("shape", [1.5, "3", (1, "2"), None])
def test_what_is_no_shape_is_refused(scope: Scope, shape: Any) -> None:
    """A shape is made of whole numbers."""
    with pytest.raises(TypeError, match="shape must be a whole number or a tuple"):
        Array(shape, scope=scope)


# -------------------------------------------------------------------------- its lock


def test_its_lock_is_one(scope: Scope) -> None:
    """A block keeps others out, gives the view, and refuses its own thread a second one."""
    array = Array(1, int, scope=scope)
    seen: list[object] = []

    def other() -> None:
        with pytest.raises(TimeoutError, match=r"locked for all of 0.01 s"):
            array.lock(timeout=0.01).__enter__()
        seen.append("refused")

    with array.lock() as view:
        view[0] += 1
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(DEADLINE)
        with pytest.raises(WouldDeadlock, match="use its view"), array.lock():
            pass
        assert not array.owner_died
    with array.lock(timeout=DEADLINE) as view:
        assert view[0] == 1
    assert seen == ["refused"]


# ------------------------------------------------------------------------- to processes


def fill(array: Array, value: int) -> None:
    array.view[:] = value


def total(array: Array) -> int:
    return sum(map(int, array))


def die_locked(array: Array) -> None:
    with array.lock() as view:
        view[0] = 7
        os.kill(os.getpid(), signal.SIGKILL)


def look(array: Array) -> tuple[bool, int]:
    with array.lock() as view:
        return array.owner_died, int(view[0])


def keep(*arrays: Array) -> None:
    _kept.extend(arrays)


def total_of_kept() -> int:
    return sum(map(total, _kept))


_kept: list[Array] = []


def mapped(token: str) -> bool:
    """Tell whether a block is mapped or open here."""
    gc.collect()
    fds = [
        os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_there(fd)
    ]
    return token in Path("/proc/self/maps").read_text() or any(token in fd for fd in fds)


def _is_there(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def token_of(array: Array) -> str:
    home: Any = array._home
    return str(home._numbers.token)


def test_it_stays_in_its_scope() -> None:
    """One for threads refuses to leave its process."""
    with pytest.raises(NotPicklable, match="scope="):
        pickle.dumps(Array(1))


def test_its_pickle_is_short() -> None:
    """What travels is where it lies, not what lies there."""
    array = Array(1_000_000, scope="process")
    assert len(pickle.dumps(array)) < 1000
    same = pickle.loads(pickle.dumps(array))
    same[5] = 1.5
    assert array[5] == 1.5


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_tasks_and_initializers_see_the_same_memory(method: Any) -> None:
    """As an argument and in initargs, in workers of each start method, made before the pool or after."""
    first = Array(10, int, scope="process")
    with Pool(
        1, backend="process", start_method=method, initializer=keep, initargs=(first,)
    ) as pool:
        later = pool.array(10, int)
        pool.submit(fill, later, 3).result(DEADLINE)
        assert total(later) == 30
        first.view[:] = 2
        assert pool.submit(total_of_kept).result(DEADLINE) == 20
        assert list(pool.map(total, [first, later])) == [20, 30]


@pytest.mark.parametrize("context", [fork, spawn], ids=["fork", "spawn"])
def test_it_goes_to_processes_of_multiprocessing(context: Any) -> None:
    """A plain Process takes it along."""
    array = Array(10, int, scope="process")
    process = context.Process(target=fill, args=(array, 4))
    process.start()
    process.join(DEADLINE)
    assert process.exitcode == 0
    process.close()
    assert total(array) == 40


def test_a_killed_owner_does_not_keep_the_lock() -> None:
    """The next one gets it, and is told that the numbers may be half changed."""
    with Pool(1, backend="process") as pool:
        array = pool.array(1, int)
        task = pool.submit(die_locked, array)
        assert isinstance(task.exception(DEADLINE), WorkerLost)
        assert pool.submit(look, array).result(DEADLINE) == (True, 7)
        assert pool.submit(look, array).result(DEADLINE) == (False, 7)


@pytest.mark.skipif(not LINUX, reason="the memory of other systems stays with the arena")
def test_it_ends_with_the_last_who_has_it() -> None:
    """Neither the parent nor a worker has anything of it, once the array and its views are gone."""
    with Pool(1, backend="process") as pool:
        array = pool.array(100_000)
        token = token_of(array)
        pool.submit(fill, array, 1).result(DEADLINE)
        view = array.view
        del array
        assert mapped(token)  # by the view
        assert view[99_999] == 1
        del view
        assert not mapped(token)
        assert not pool.submit(mapped, token).result(DEADLINE)


@pytest.mark.skipif(not LINUX, reason="the memory of other systems stays with the arena")
def test_a_task_keeps_what_it_was_given() -> None:
    """A task that waits in the queue has its array, though its maker has let go of it."""
    with Gate() as gate, Pool(1, backend="process") as pool:
        pool.submit(stop, gate.path)
        gate.arrival()
        array = pool.array(10, int)
        array.view[:] = 5
        waiting = pool.submit(total, array)
        del array
        gate.open()
        assert waiting.result(DEADLINE) == 50


@pytest.mark.skipif(not LINUX, reason="the memory of other systems stays with the arena")
def test_one_that_is_gone_says_so() -> None:
    """A pickle whose array has ended is refused with the reason."""
    array = Array(10, scope="process")
    data = pickle.dumps(array)
    del array
    gc.collect()
    with pytest.raises(SharedStateLost, match="is not there any more"):
        pickle.loads(data)


def test_a_view_keeps_its_numbers_where_no_memory_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    """On other systems than Linux, too, it does not show the next array's when its own is gone."""
    monkeypatch.setattr(nameless, "MEMFD", False)
    array = Array(10, int, scope="process")
    view = array.view
    view[:] = 7
    del array
    gc.collect()
    Array(10, int, scope="process").view[:] = 1
    assert list(view) == [7] * 10


# -------------------------------------------------------------------------- no room


def in_child(work: Callable[[], None]) -> None:
    """Run a function in a forked child, which it may spoil."""
    process = fork.Process(target=work)
    process.start()
    process.join(DEADLINE)
    assert process.exitcode == 0
    process.close()


def test_more_than_there_is_is_refused_at_once() -> None:
    """No store is needed to find out that there is no room, and nobody is ended for it."""
    with pytest.raises(
        OSError, match=r"no room for \d+ more bytes of shared memory: about \d+ are free"
    ):
        Array(1 << 45, scope="process")


@pytest.mark.skipif(not LINUX, reason="uses the limit of a file's size")
def test_what_the_system_refuses_is_refused_at_the_call() -> None:
    """A file that cannot grow is an error of the call, not a SIGBUS later; nothing stays open."""

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        before = len(os.listdir("/proc/self/fd"))
        message = r"no room for 8388608 more bytes of shared memory: .* \(ulimit -f\)"
        with pytest.raises(OSError, match=message) as refused:
            Array(1 << 20, scope="process")
        assert is_shortage(refused.value)
        assert len(os.listdir("/proc/self/fd")) == before

    in_child(work)


def test_what_is_free_is_read_from_system_and_cgroup(tmp_path: Path) -> None:
    """The smaller one counts; files that are merely kept in memory count as free."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(
        "MemTotal: 9000 kB\nMemAvailable: 1000 kB\nSwapFree: 24 kB\nHugePages_Total: 0\n"
    )
    assert available.available(meminfo, tmp_path) == 1024 * 1024
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 50000\n")
    assert available.available(meminfo, tmp_path) == 150_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available.available(meminfo, tmp_path) == 1024 * 1024
    assert available.available(tmp_path / "none", tmp_path / "none") is None


def test_what_is_free_is_read_from_an_old_cgroup(tmp_path: Path) -> None:
    """Version 1 of cgroups has other names for the same."""
    old = tmp_path / "memory"
    old.mkdir()
    (old / "memory.limit_in_bytes").write_text("500\n")
    (old / "memory.usage_in_bytes").write_text("450\n")
    assert available.available(tmp_path / "none", tmp_path) == 50


def test_it_loads_numpy_only_when_it_is_looked_at() -> None:
    """To make an array and pass it on does not load numpy."""
    program = (
        "import sys; from workpool import Array\n"
        "for scope in ('thread', 'process'): Array((2, 3), 'float32', scope=scope)\n"
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    assert done.stdout == "False\n"
