"""What a test leaves behind: threads, processes, interpreters, file descriptors, names of memory and files.

A picture is taken before the test and another after it; what is in the second
and not in the first is a leak. Ends take a moment (a thread returns, a child is
reaped, a name is unlinked), so the second picture is taken again until nothing
is left or the time is up.

Linux shows all of it in ``/proc``; elsewhere only threads are looked at.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from operator import call
from pathlib import Path
from typing import Any

from workpool._compat import frame_of, has_interpreters, uncollected

__all__ = [
    "STANDING",
    "Picture",
    "end_processes_since",
    "leaks_since",
    "mark_processes",
    "take_picture",
    "tolerated",
]

LINUX = sys.platform.startswith("linux")

# Set in the environment of the test process, so that a process of ours is still
# known when its parent died before it and the line of parents is cut.
MARK = "WORKPOOL_TEST_RUN"

# One each, started when first needed and kept on purpose until this process ends.
SINGLETONS = (
    "from workpool.ipc.keeper import main",  # the clean process that workers are forked from
    "multiprocessing.resource_tracker",
    "multiprocessing.forkserver",
)
# Processes that a whole run shares, such as a cluster: what starts below them is theirs.
STANDING: set[int] = set()
# A singleton that starts during a test brings so many descriptors at most (pipes, sockets, a pidfd).
SINGLETON_DESCRIPTORS = 4


@dataclass(frozen=True)
class Process:
    """A process of this test run; the same pid with another start is another process."""

    pid: int
    start: int
    parent: int
    state: str
    command: str

    def __str__(self) -> str:
        """Tell which process it is, for the message."""
        state = "zombie" if self.state == "Z" else "process"
        return f"{state} {self.pid} (child of {self.parent}): {self.command or '?'}"


@dataclass(frozen=True)
class Picture:
    """What there is at one moment."""

    threads: frozenset[threading.Thread]
    bare_threads: (
        frozenset[int] | None
    )  # idents of those started without a Thread; None: not looked at
    processes: frozenset[Process]
    interpreters: frozenset[int]  # ids
    descriptors: frozenset[tuple[int, str]]
    names: frozenset[Path]
    granules: int  # of shared memory, mapped and kept


def tolerated(process: Process) -> bool:
    """Tell whether a process is one that the library keeps on purpose.

    Only a child of this very process can be one: workers forked from such a
    process show the same command line, and are leaks.
    """
    return process.parent == os.getpid() and any(one in process.command for one in SINGLETONS)


def mark_processes() -> None:
    """Mark what this process starts from now on, by its environment."""
    # Each process of a divided run (pytest-xdist) marks its own: a sibling's are not ours.
    os.environ[MARK] = f"{os.getpid()}-{time.time_ns()}"


def take_picture() -> Picture:
    """See what there is now."""
    threads = frozenset(
        t for t in threading.enumerate() if not isinstance(t, threading._DummyThread)
    )
    known = {t.ident for t in threading.enumerate()}
    interpreters = _interpreters()
    return Picture(
        threads=threads,
        # Frames of another interpreter must not be touched from here while it runs.
        bare_threads=None
        if len(interpreters) > 1
        else frozenset(i for i in _idents() if i not in known),
        interpreters=interpreters,
        processes=frozenset(_processes()) if LINUX else frozenset(),
        descriptors=frozenset(_descriptors()) if LINUX else frozenset(),
        names=frozenset(_names()) if LINUX else frozenset(),
        granules=sum(len(arena.room._granules) for arena in _kept_arenas()),
    )


def leaks_since(before: Picture, within: float = 5.0) -> list[str]:
    """Tell what is there now and was not before, after at most so many seconds of grace."""
    deadline = time.monotonic() + within
    pause = 0.001
    while leaks := _difference(before, take_picture()):
        if time.monotonic() > deadline:
            break
        # What hangs in a reference cycle is not leaked, only not yet collected.
        gc.collect()
        # Nothing tells when a name or a grandchild goes away, so this has to look again.
        time.sleep(pause)  # house: sleep - the one place that has to poll
        pause = min(2 * pause, 0.25)
    return leaks


def end_processes_since(before: Picture, within: float = 1.0) -> None:
    """Kill the processes that are left after so many seconds of grace.

    One that a failed test left waiting would keep the whole run from ending:
    multiprocessing joins its children at exit, for ever.
    """
    known = {(p.pid, p.start) for p in before.processes}
    deadline = time.monotonic() + within
    while LINUX and (left := [p for p in _processes() if _is_leak(p, known)]):
        if time.monotonic() > deadline:
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            return
        time.sleep(0.01)  # house: sleep - as above


def _is_leak(process: Process, known: set[tuple[int, int]]) -> bool:
    # A state or a parent may have changed: only pid and start tell who it is.
    return (process.pid, process.start) not in known and not tolerated(process)


def _difference(before: Picture, after: Picture) -> list[str]:
    leaks = [f"thread {t.name}\n{_stack(t.ident)}" for t in after.threads - before.threads]
    leaks += [
        f"thread {ident}, started without threading.Thread\n{_stack(ident)}"
        for ident in (after.bare_threads or frozenset()) - (before.bare_threads or frozenset())
        if before.bare_threads is not None
    ]
    leaks += [f"interpreter {number}" for number in after.interpreters - before.interpreters]
    known = {(p.pid, p.start) for p in before.processes}
    leaks += [str(p) for p in after.processes if _is_leak(p, known)]
    fresh = [p for p in after.processes if (p.pid, p.start) not in known]
    descriptors = _without_kept(after.descriptors - before.descriptors, after, before)
    if len(descriptors) > SINGLETON_DESCRIPTORS * sum(tolerated(p) for p in fresh):
        leaks += [f"file descriptor {number}: {target}" for number, target in descriptors]
    names = after.names - before.names
    foreign = _held_by_others(names, {p.pid for p in after.processes} | {os.getpid()})
    leaks += [f"name {path}" for path in sorted(names - foreign)]
    return leaks


def _without_kept(
    fresh: frozenset[tuple[int, str]], after: Picture, before: Picture
) -> list[tuple[int, str]]:
    """Leave out the descriptors of the shared memory that this process keeps until it ends."""
    kept = {fd for arena in _kept_arenas() for fd in (arena.memory_fd, arena.locks_fd)}
    descriptors = sorted(d for d in fresh if d[0] not in kept)
    if sys.version_info < (3, 13):  # where a mapping holds a descriptor of its own
        mapped = [d for d in descriptors if d[1].startswith("/memfd:workpool-")]
        for one in mapped[: after.granules - before.granules]:
            descriptors.remove(one)
    return descriptors


def _kept_arenas() -> list[Any]:
    return list(getattr(sys.modules.get("workpool.ipc.arenas"), "_kept", ()))


def _interpreters() -> frozenset[int]:
    if not has_interpreters():
        return frozenset()
    interpreters: Any = import_module("concurrent.interpreters")
    return frozenset(each.id for each in interpreters.list_all())


def _idents() -> list[int]:
    """List the threads that have a frame, and keep none of these."""
    idents: list[int]
    (idents,) = uncollected(map(list, map(call, (sys._current_frames,))))
    return idents


def _stack(ident: int | None) -> str:
    if len(_interpreters()) > 1:
        return "  (not looked at while other interpreters run)"
    frame = frame_of(ident or 0)
    return "".join(traceback.format_stack(frame)) if frame else "  (ended by now)"


def _processes() -> list[Process]:
    """List the descendants of this process, and those that carry its mark."""
    everyone = {p.pid: p for entry in os.listdir("/proc") if (p := _read_process(entry))}
    mine = os.getpid()
    mark = f"{MARK}={os.environ[MARK]}".encode() if MARK in os.environ else b""
    start = everyone[mine].start
    found: list[Process] = []
    for process in everyone.values():
        if process.pid == mine or process.start < start:
            continue
        if process.pid in STANDING or any(_descends(process, one, everyone) for one in STANDING):
            continue
        if _descends(process, mine, everyone) or (mark and mark in _read(process.pid, "environ")):
            command = _read(process.pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")
            found.append(
                Process(process.pid, process.start, process.parent, process.state, command.strip())
            )
    return found


def _descends(process: Process, ancestor: int, everyone: dict[int, Process]) -> bool:
    """Follow the parents upwards; processes come and go meanwhile, so the line may break."""
    current: Process | None = process
    for _ in range(len(everyone)):
        if current is None:
            return False
        if current.parent == ancestor:
            return True
        current = everyone.get(current.parent)
    return False


def _read_process(entry: str) -> Process | None:
    if not entry.isdigit():
        return None
    # "pid (name) state ppid ..."; the name may hold anything, also spaces and brackets.
    fields = _read(int(entry), "stat").rpartition(b")")[2].split()
    if len(fields) < 20:
        return None
    return Process(int(entry), int(fields[19]), int(fields[1]), fields[0].decode(), "")


def _read(pid: int, what: str) -> bytes:
    """Read one file of a process; nothing if the process is gone or not ours."""
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


def _descriptors() -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for entry in os.listdir("/proc/self/fd"):
        # The descriptor of this very listing is closed by now.
        with suppress(OSError):
            found.append((int(entry), os.readlink(f"/proc/self/fd/{entry}")))
    return found


def _names() -> list[Path]:
    """List names that the library could have made; other names belong to other programs."""
    found: list[Path] = []
    for folder in ("/dev/shm", tempfile.gettempdir()):
        with suppress(OSError):
            found += [Path(folder, n) for n in os.listdir(folder) if n.startswith("workpool")]
    return found


def _held_by_others(names: frozenset[Path], ours: set[int]) -> frozenset[Path]:
    """Find the names that a process of some other run has open or mapped."""
    if not names:
        return frozenset()
    held: set[Path] = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in ours:
            continue
        maps = _read(int(entry), "maps").decode(errors="replace")
        held |= {path for path in names if str(path) in maps}
        with suppress(OSError):
            for fd in os.listdir(f"/proc/{entry}/fd"):
                with suppress(OSError):
                    held.add(Path(os.readlink(f"/proc/{entry}/fd/{fd}")))
    return frozenset(held & names)
