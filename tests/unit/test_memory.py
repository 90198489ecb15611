"""Regions of anonymous shared memory: made, sent, grown, given back, lost."""

from __future__ import annotations

import errno
import fcntl
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from multiprocessing import forkserver
from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext

import pytest

from workpool.errors import SharedStateLost
from workpool.ipc import arenas, lives, memory, nameless

START_METHODS = ["fork", "spawn", "forkserver"]
CONTEXTS = [
    multiprocessing.get_context("fork"),
    multiprocessing.get_context("spawn"),
    multiprocessing.get_context("forkserver"),
]
Context = ForkContext | SpawnContext | ForkServerContext


@pytest.fixture(scope="module", autouse=True)
def singletons() -> None:
    """Make what stays until the process ends, before the first test looks for leaks."""
    memory.allocate(1)
    forkserver.ensure_running()


def increment_first_byte(region: memory.Region) -> None:
    region.view[0] += 1


def test_a_region_is_zero_and_as_long_as_asked() -> None:
    """A fresh region holds zeros, as many as asked for."""
    for size in (1, 64, 1000, 300_000, 3_000_000):
        region = memory.allocate(size)
        assert len(region.view) == size
        assert not any(region.view[:: max(1, size // 1000)])


def test_regions_do_not_overlap() -> None:
    """What is written to one region shows in no other."""
    regions = [memory.allocate(size) for size in (1, 63, 64, 65, 5000, 262_144, 262_145, 1)]
    for number, region in enumerate(regions, 1):
        region.view[:] = bytes([number]) * region.size
    for number, region in enumerate(regions, 1):
        assert bytes(region.view) == bytes([number]) * region.size


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(size: int) -> None:
    """allocate() names the size that it refuses."""
    with pytest.raises(ValueError, match=str(size)):
        memory.allocate(size)


def test_a_reserve_out_of_bounds_is_refused() -> None:
    """allocate() names the reserve that it refuses."""
    with pytest.raises(ValueError, match="-1"):
        memory.allocate(1, spare=-1)
    with pytest.raises(ValueError, match=str(memory.SPARE_LIMIT)):
        memory.allocate(1, spare=memory.SPARE_LIMIT + 1)


def test_a_region_pickles_to_the_same_memory() -> None:
    """An unpickled region is the same bytes, not a copy."""
    region = memory.allocate(10)
    again = pickle.loads(pickle.dumps(region))
    again.view[3] = 7
    assert region.view[3] == 7
    assert (again.offset, again.size, again.arena) == (region.offset, 10, region.arena)


@pytest.mark.parametrize("context", CONTEXTS, ids=START_METHODS)
@pytest.mark.parametrize("size", [10, 500_000])
def test_a_process_of_multiprocessing_sees_the_region(context: Context, size: int) -> None:
    """A region passed to multiprocessing.Process is the same memory there."""
    region = memory.allocate(size)
    other = memory.allocate(1)
    for target in (region, other):
        process = context.Process(target=increment_first_byte, args=(target,))
        process.start()
        process.join(30)
        assert process.exitcode == 0
    assert (region.view[0], other.view[0]) == (1, 1)


def start_adopting_process(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a fresh Python that adopts what this process exports, as a pool's launcher does."""
    pairs = memory.exported()
    prologue = f"import sys, os, pickle; from workpool.ipc import memory; memory.adopt({pairs!r})\n"
    return subprocess.Popen(
        [sys.executable, "-c", prologue + code, *arguments],
        pass_fds=[fd for _, fd in pairs],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_objects_made_later_reach_workers_started_earlier() -> None:
    """A worker that adopted the arena sees regions that were allocated after its start."""
    process = start_adopting_process("region = pickle.load(sys.stdin.buffer); region.view[0] = 42")
    region = memory.allocate(5)
    process.communicate(pickle.dumps(region), timeout=30)
    assert process.returncode == 0
    assert region.view[0] == 42


def test_a_worker_passes_on_the_arenas_it_knows() -> None:
    """exported() lists adopted arenas too, and the worker's own."""
    code = "names = [n for n, fd in memory.exported()]; print(len(names), names[0])"
    process = start_adopting_process(code)
    out, _ = process.communicate(timeout=30)
    known = memory.exported()
    assert out.decode().split() == [str(len(known) + 2), known[0][0]]


def test_adopted_descriptors_do_not_leak_into_programs_that_a_worker_starts() -> None:
    """adopt() takes the descriptors as the worker's own: a subprocess of it has none."""
    code = "print([os.get_inheritable(fd) for n, fd in memory.exported()])"
    out, _ = start_adopting_process(code).communicate(timeout=30)
    assert b"True" not in out
    assert b"False" in out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="lent through /proc")
def test_a_region_made_in_a_worker_reaches_its_parent_and_is_lost_with_the_worker() -> None:
    """An arena one was never given is borrowed from the sender, while the sender lives."""
    code = (
        "a, b = memory.allocate(4), memory.allocate(4)\n"
        "a.view[0] = 9\n"
        "sys.stdout.buffer.write(pickle.dumps((pickle.dumps(a), pickle.dumps(b)))); sys.stdout.flush()\n"
        "sys.stdin.read(); print(a.view[1])"
    )
    process = start_adopting_process(code)
    assert process.stdout is not None
    first, second = pickle.load(process.stdout)
    region = pickle.loads(first)
    assert region.view[0] == 9
    region.view[1] = 5
    del region
    gc.collect()
    out, _ = process.communicate(timeout=30)
    assert out.split() == [b"5"]
    with pytest.raises(SharedStateLost, match="never reached process"):
        pickle.loads(second)


def test_a_region_given_back_is_used_again_and_zero() -> None:
    """The maker may give a region back; the next of that size gets the same memory, zeroed."""
    region = memory.allocate(77_777)
    region.view[:] = b"x" * region.size
    offset = region.offset
    assert region.give_back()
    again = memory.allocate(77_777)
    assert again.offset == offset
    assert not any(again.view)


def test_a_late_pickle_of_a_region_given_back_is_refused() -> None:
    """Who unpickles a region that was given back hears so, whether or not it is used again."""
    region = memory.allocate(55_555)
    late = pickle.dumps(region)
    region.give_back()
    with pytest.raises(SharedStateLost, match="given back"):
        pickle.loads(late)
    again = memory.allocate(55_555)
    assert again.offset == region.offset
    with pytest.raises(SharedStateLost, match="given back"):
        pickle.loads(late)


def test_a_region_is_given_back_once() -> None:
    """give_back() answers False the second time, and to who did not make the region."""
    region = memory.allocate(44_444)
    assert region.give_back()
    assert not region.give_back()
    code = "region = pickle.load(sys.stdin.buffer); print(region.give_back())"
    out, _ = start_adopting_process(code).communicate(pickle.dumps(memory.allocate(1)), timeout=30)
    assert out.split() == [b"False"]


def test_a_region_that_never_left_is_reused_when_collected() -> None:
    """No other process can know a region that was neither pickled nor there at a fork."""
    region = memory.allocate(33_333)
    offset = region.offset
    del region
    assert memory.allocate(33_333).offset == offset


@pytest.mark.parametrize("how", ["pickled", "forked"])
def test_a_region_that_left_is_not_reused(how: str) -> None:
    """Another process may still use a region that was pickled, or was there at a fork."""
    region = memory.allocate(22_222)
    offset = region.offset
    if how == "pickled":
        pickle.dumps(region)
    else:
        process = multiprocessing.get_context("fork").Process(target=int)
        process.start()
        process.join(30)
    del region
    assert memory.allocate(22_222).offset != offset


def test_a_forked_child_gives_back_nothing_and_has_an_arena_of_its_own() -> None:
    """In a forked child the parent's regions stay, and new ones lie elsewhere."""
    region = memory.allocate(11)
    reader, writer = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        fresh = memory.allocate(11)
        writer.send((region.give_back(), fresh.arena.token == region.arena.token))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    assert reader.poll(30)
    assert reader.recv() == (False, False)
    process.join(30)
    reader.close()
    writer.close()


def test_a_reserve_takes_memory_only_when_opened() -> None:
    """A reserve of gigabytes costs nothing until a part of it is opened."""
    before = os.fstat(memory.allocate(1).arena.memory_fd).st_blocks
    region = memory.allocate(1, spare=1 << 31)
    part = region.open(1 << 30, 5000)
    assert len(part) == 5000
    assert not any(part)
    assert os.fstat(region.arena.memory_fd).st_blocks - before < 10_000  # of 512 bytes


def test_a_part_of_a_reserve_is_the_same_memory_on_the_other_side() -> None:
    """Any process may open a part first; all see the same bytes, and more than was opened before."""
    region = memory.allocate(1, spare=1 << 24)
    code = "pickle.load(sys.stdin.buffer).open(8192, 100_000)[99_999] = 6"
    start_adopting_process(code).communicate(pickle.dumps(region), timeout=30)
    assert region.open(8192, 200_000)[99_999] == 6
    with pytest.raises(ValueError, match="reserve"):
        region.open(0, (1 << 24) + 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs madvise(MADV_REMOVE)")
def test_trimming_gives_the_memory_of_a_reserve_back() -> None:
    """A trimmed part takes no memory and reads as zero."""
    region = memory.allocate(1, spare=1 << 24)
    part = region.open(0, 1 << 23)
    part[:] = b"y" * len(part)
    before = os.fstat(region.arena.memory_fd).st_blocks
    region.trim(0, 1 << 23)
    assert os.fstat(region.arena.memory_fd).st_blocks <= before - (1 << 23) // 512
    assert part[0] == 0


def test_regions_are_allocated_from_many_threads() -> None:
    """Threads that allocate at once get different regions."""
    offsets: list[int] = []
    kept: list[memory.Region] = []

    def allocate_some() -> None:
        for _ in range(200):
            region = memory.allocate(40)
            kept.append(region)
            offsets.append(region.offset)

    threads = [threading.Thread(target=allocate_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(offsets)) == 800


def test_the_portable_file_has_no_name_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memfd_create the file is unlinked at once; regions work the same."""
    monkeypatch.setattr(nameless, "MEMFD", False)
    monkeypatch.setattr(arenas, "_own", None)
    monkeypatch.delattr(os, "posix_fallocate")
    region = memory.allocate(100, spare=1 << 20)
    region.view[:] = b"z" * 100
    part = region.open(4096, 10_000)
    part[9_999] = 3
    assert pickle.loads(pickle.dumps(region)).open(4096, 10_000)[9_999] == 3
    assert os.fstat(region.arena.memory_fd).st_nlink == 0
    with arenas.lock:
        arenas._kept.remove(region.arena)


def test_an_arena_that_is_known_is_adopted_once() -> None:
    """Given the same arena twice, a process keeps one, and the record locks it has on it."""
    code = (
        "from workpool.ipc import lives\n"
        "names = len(memory.exported())\n"
        "region = pickle.load(sys.stdin.buffer)\n"
        "number = lives.our_number(region.arena)\n"
        "memory.adopt([(name, os.dup(fd)) for name, fd in memory.exported()])\n"
        "print(len(memory.exported()) == names, number, flush=True)\n"
        "os.read(0, 1)"
    )
    region = memory.allocate(1)
    process = start_adopting_process(code)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(pickle.dumps(region))
    process.stdin.flush()
    once, number = process.stdout.readline().split()
    assert once == b"True"
    assert not lives.ended(region.arena, int(number))
    process.communicate(timeout=30)
    assert lives.ended(region.arena, int(number))


def test_a_forked_worker_may_adopt_what_it_has_inherited() -> None:
    """Told of descriptors that are the arena's own already, a process goes on using them."""
    region = memory.allocate(1)

    def child() -> None:
        memory.adopt(memory.exported())
        assert len(nameless.map_part(region.arena.memory_fd, 0, 1)) == 1
        fcntl.lockf(region.arena.locks_fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1 << 50)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0


def test_a_descriptor_that_is_another_file_by_now_is_not_borrowed() -> None:
    """A sender's number may be another process's by now: the file must be the one that is meant."""
    arena = memory.allocate(1).arena
    with pytest.raises(OSError, match="another file"):
        nameless.borrow(os.getpid(), arena.locks_fd, f"workpool-{arena.token}")


def test_a_place_past_the_end_of_the_arena_is_refused() -> None:
    """A region that never was is lost state, not a crash."""
    region = memory.allocate(1)
    with pytest.raises(SharedStateLost, match="given back"):
        memory._attach(region.arena, 1 << 40, 8, 1, (0, 0))
    assert region.arena.token in repr(region)
    assert "ours=True" in repr(region.arena)


@pytest.mark.parametrize("failing", [1, 2])
def test_an_arena_that_cannot_be_made_leaves_nothing_open(
    failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of descriptors, the call fails; later, when there are some again, it succeeds."""
    calls: list[str] = []
    make = nameless.make

    def fail_once(name: str) -> int:
        calls.append(name)
        if len(calls) == failing:
            raise OSError(errno.EMFILE, "too many open files")
        return make(name)

    monkeypatch.setattr(arenas, "_own", None)
    monkeypatch.setattr(nameless, "make", fail_once)
    with pytest.raises(OSError, match="too many"):
        memory.allocate(1)
    region = memory.allocate(1)
    with arenas.lock:
        arenas._kept.remove(region.arena)


def test_no_memory_left_is_an_error_of_the_call() -> None:
    """A region that does not fit is refused, and the next one that fits is given."""
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 22, resource.RLIM_INFINITY))\n"
        "try: memory.allocate(1 << 23)\n"
        "except OSError as error: print('refused:', error)\n"
        "print(memory.allocate(1 << 20).size)"
    )
    out, _ = start_adopting_process(code).communicate(timeout=30)
    assert b"refused: [Errno" in out
    assert b"8388672 more bytes" in out
    assert str(1 << 20).encode() in out
