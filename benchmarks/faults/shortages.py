"""The machine runs out of something: memory, room in its folders of memory and files, descriptors, processes.

Each is a real limit of the kernel's, which holds for this trial alone: of its own processes
(`setrlimit`), of a control group, or of file systems that only it sees. Where it may not
be set (the last two want root on Linux), the trial says that it was not made.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.faults import calls
from benchmarks.faults.pools import Outcome, PoolUnderTest

__all__ = ["SHORTAGES", "end_group"]

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - it is made unusable, not used
TEMP = ("/tmp", "/var/tmp")  # noqa: S108 - the same
ROOM = 100_000_000  # bytes of memory that are left
LARGE = 2 * ROOM
_CLONE_NEWNS = 0x00020000
_MS_PRIVATE, _MS_REMOUNT = 0x44000, 32  # the first with all below it


class NotTriedError(Exception):
    """The machine does not let us have such a limit."""


# ------------------------------------------------------------------------- the limits


def few_descriptors() -> AbstractContextManager[None]:
    """Four more descriptors for this process, and for what it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 4, hard))
    return until(partial(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard)))


def few_processes() -> AbstractContextManager[None]:
    """Two more threads or processes for this one and all that it starts."""
    group = group_of(os.getppid())
    try:
        group.mkdir()
        (group / "cgroup.procs").write_text(str(os.getpid()))
        limit = group / "pids.max"
        limit.write_text(str(int((group / "pids.current").read_text()) + 2))
    except OSError as error:
        raise NotTriedError from error
    return until(partial(limit.write_text, "max"))


def group_of(starter: int) -> Path:
    """Give the control group of a trial that this process started: version 1, or version 2 with the controller."""
    old = Path("/sys/fs/cgroup/pids")
    return (old if old.is_dir() else old.parent) / f"workpool-faults-{starter}"


def end_group() -> None:
    """Take away the control group of a trial that was started here and is over, and what runs in it."""
    group = group_of(os.getpid())
    while group.is_dir():
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
        with suppress(OSError):  # some are on their way out
            group.rmdir()


def full(*folders: str) -> AbstractContextManager[None]:
    """File systems of 64 kB without room, which only this process and its children see."""
    needed = (os.getcwd(), sys.prefix, sys.base_prefix)
    if any(each.startswith(f"{folder}/") for each in needed for folder in folders):
        raise NotTriedError
    if ctypes.CDLL(None).unshare(_CLONE_NEWNS):
        raise NotTriedError
    mount("/", flags=_MS_PRIVATE)
    for folder in folders:
        mount(folder, b"tmpfs", 0, b"size=64k")
        with suppress(OSError), open(f"{folder}/filler", "wb") as filler:
            filler.write(b"x" * 70_000)
    # Some may have files open there: it is made larger, not taken away.
    return until(lambda: [mount(each, flags=_MS_REMOUNT, data=b"size=4g") for each in folders])


def mount(
    folder: str, kind: bytes | None = None, flags: int = 0, data: bytes | None = None
) -> None:
    """Ask the kernel for a file system, or for a change of one."""
    if ctypes.CDLL(None).mount(b"none", folder.encode(), kind, flags, data):
        raise NotTriedError


@contextmanager
def until(back: Callable[[], object]) -> Generator[None]:
    """Have enough again when the block is left."""
    try:
        yield
    finally:
        back()


def little_memory() -> AbstractContextManager[None]:
    """Room for `ROOM` bytes more in this process, and in what it starts."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    calls.less_memory(ROOM)
    return until(partial(resource.setrlimit, resource.RLIMIT_AS, before))


# ------------------------------------------------------------------- what is done meanwhile


def told(outcomes: Iterable[Outcome]) -> str:
    """Name the errors."""
    errors = sorted({type(value).__name__ for there, value in outcomes if not there})
    return ", ".join(errors) or "all run"


def recovers(pool: PoolUnderTest) -> str:
    """Tell whether four more tasks run."""
    try:
        again = all(there for there, _ in pool.run(calls.double, range(4)))
    except Exception:
        again = False
    return "recovers" if again else "pool is lost"


def opened_in(shortage: Callable[[], AbstractContextManager[None]], pool: PoolUnderTest) -> str:
    """There is nothing for a pool that is opened and used; then there is."""
    try:
        scarce = shortage()
    except NotTriedError:
        return "not tried"
    there_is_one = False
    with scarce:
        try:
            pool.open()
            there_is_one = True
            said = told(pool.run(calls.take, [payload() for _ in range(4)]))
        except Exception as error:
            said = type(error).__name__
    if there_is_one:
        return f"{said}, {recovers(pool)}"
    try:
        pool.open()
    except Exception as error:
        return f"no pool is made ({said}), nor a later one ({type(error).__name__})"
    again = recovers(pool) == "recovers"
    return f"no pool is made ({said}), a later one {'runs' if again else 'does not run'}"


def payload() -> Any:
    """Give what some lay into a folder: an array of two megabytes, where there are arrays."""
    if find_spec("numpy") is None:
        return bytes(2_000_000)
    from importlib import import_module

    return import_module("numpy").zeros(250_000)


def limit_all(pool: PoolUnderTest, room: int) -> None:
    """Leave each of the two workers so much room; the second may be slow to come."""
    pids: set[int] = set()
    for _ in range(50):
        pids |= {pid for there, pid in pool.run(calls.less_memory, [room] * 4) if there}
        if len(pids) > 1:
            return


def argument_too_large(pool: PoolUnderTest) -> str:
    """No worker has room for one of the arguments."""
    pool.open()
    limit_all(pool, ROOM)
    items: list[Any] = [0] * 8
    items[calls.BAD] = bytes(LARGE)
    return judged(pool, pool.run(calls.take, items))


def result_too_large(pool: PoolUnderTest) -> str:
    """No worker has room for one of its results and for the message with it."""
    pool.open()
    limit_all(pool, LARGE + ROOM)
    sizes = [10] * 8
    sizes[calls.BAD] = LARGE
    return judged(pool, pool.run(calls.make, sizes))


def result_too_large_here(pool: PoolUnderTest) -> str:
    """The program has no room for one of the results, for a while."""
    pool.open()
    pool.run(calls.pid_of, range(6))
    sizes = [10] * 8
    sizes[calls.BAD] = 2 * LARGE
    with little_memory():
        outcomes = pool.run(calls.make, sizes)
    return judged(pool, outcomes)


def judged(pool: PoolUnderTest, outcomes: list[Outcome]) -> str:
    """Say what came of the large one, of the seven others, and of the pool."""
    there, value = outcomes.pop(calls.BAD)
    lost = sum(not each for each, _ in outcomes)
    others = f"{lost} of 7 others lost" if lost else "others run"
    said = "comes back all the same" if there else type(value).__name__
    return f"{said}, {others}, {recovers(pool)}"


SHORTAGES: dict[str, tuple[str, Callable[[PoolUnderTest], str]]] = {
    "memory-argument": ("an argument of 200 MB, workers have room for 100", argument_too_large),
    "memory-result": ("a result of 200 MB, workers cannot hold it twice", result_too_large),
    "memory-here": (
        "a result of 400 MB, the program has room for 100, then more",
        result_too_large_here,
    ),
    "shm": (
        f"{SHARED_MEMORY} is full, then it is not",
        partial(opened_in, partial(full, SHARED_MEMORY)),
    ),
    "temp": (
        "the temp folders are full, too, then they are not",
        partial(opened_in, partial(full, SHARED_MEMORY, *TEMP)),
    ),
    "descriptors": (
        "no file descriptors are left, then there are",
        partial(opened_in, few_descriptors),
    ),
    "processes": (
        "two more threads or processes may be started, then more",
        partial(opened_in, few_processes),
    ),
}
