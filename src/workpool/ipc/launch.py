"""Starting one worker process: its pipes, what it is told first, and how it ends.

A worker has two private pipes (calls to it, outcomes from it), a control pipe, a
journal and a status pipe. Nobody else has their ends: a fork of this process
closes them (``_in_child``), every other child gets none (close-on-exec).
"""

from __future__ import annotations

import errno
import mmap
import os
import weakref
from collections import deque
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from workpool._compat import LINUX
from workpool.calm import deaf_to_ctrl_c
from workpool.ipc import inheritance, keeper, memory, nameless, pickling, serving
from workpool.ipc.depot import CONTROL_SIZE, Depot, Slots
from workpool.ipc.family import kill_family
from workpool.ipc.frames import FrameReader, drop_written, pack
from workpool.ipc.journal import Journal, make_journal
from workpool.ipc.reportpipe import NO_REPORTS, ReportPipe
from workpool.ipc.stacks import Stacks
from workpool.ipc.stacksignal import SIGNAL
from workpool.ipc.surroundings import surroundings
from workpool.ipc.watcher import watch_fork

if TYPE_CHECKING:
    from workpool.situation import Setup

__all__ = ["WorkerHandle", "launch"]

_PIPE_SIZE = 1 << 20  # bytes asked of the kernel for the pipes of a worker; it may give less
_F_SETPIPE_SZ = 1031  # Linux
_MOST_KEEPERS = 4  # that may die during one start
_PIPE_BUF = 512  # bytes that every system writes whole or not at all

_handles: weakref.WeakSet[WorkerHandle] = weakref.WeakSet()


class WorkerHandle:
    """The parent's ends of one worker process."""

    SLOTS = Slots  # of large arguments

    def __init__(
        self,
        pid: int,
        fds: tuple[int, int, int, int],
        journal: Journal,
        stack_r: int,
        depot_fd: int = -1,
        control: mmap.mmap | None = None,
    ) -> None:
        # The worker is there: nothing in here asks the system for anything that it may not have.
        self.pid = pid
        self.stacks = Stacks(stack_r, self._ask_for_stacks)
        self._task_w, self.result_r, self._control_w, self.status_r = fds
        self.journal = journal
        self.reader = FrameReader(self.result_r)
        self._outbox: list[Any] = []  # pieces of frames that did not fit into the pipe yet
        self._untold: deque[memoryview] = (
            deque()
        )  # frames that did not fit into the control pipe yet
        # Second reading ends of the pipes that we write to. So a write to a dead worker, of whose end the status pipe
        # tells, breaks no pipe: that would be a SIGPIPE, which ends a program that does not ignore it.
        self.held: list[int] = []
        self.reports = NO_REPORTS  # the pipe that they come up, if any were asked for
        self.exitcode: int | None = None
        self.watcher = 0  # our child that looks after the worker, if it was forked from here
        self.keeper = 0  # the process that tells of the worker's end: that one, or the keeper
        self.ended = False  # the end of the pipe for outcomes was read: nothing more will come
        self.dead = False
        self.short: OSError | None = None  # what the system had not, so that it never began
        # Where the worker lays large results down, and which of ours it has, and we of its.
        self.depot_fd = depot_fd
        self.argument_slots: Slots | None = None
        self.result_slots: Slots | None = None
        if control is not None:
            self.result_slots = Slots(control, 0)
            self.argument_slots = self.SLOTS(control, Slots.SIZE)
        for fd in (self._task_w, self.result_r, self._control_w):
            os.set_blocking(fd, False)
        _handles.add(self)

    @property
    def pending(self) -> bool:
        """Whether part of a frame waits for room in the pipe that calls go down."""
        return bool(self._outbox)

    @property
    def unsent(self) -> bool:
        """Whether anything waits for room in a pipe, and so for ``push``."""
        return bool(self._outbox or self._untold)

    @property
    def wants_room_on(self) -> list[int]:
        """The pipes in which something waits for room."""
        both = (self._outbox, self._task_w), (self._untold, self._control_w)
        return [fd for waiting, fd in both if waiting]

    def post(self, pieces: list[bytes]) -> None:
        """Send a frame, or as much as the pipe takes; the rest is for ``push``."""
        if len(pieces) == 1 and not self._outbox and len(pieces[0]) <= _PIPE_BUF:
            try:
                os.write(self._task_w, pieces[0])  # so short a write is all or nothing
            except BlockingIOError:
                self._outbox.append(memoryview(pieces[0]))
            return
        self._outbox.extend(memoryview(piece) for piece in pieces if piece)
        self._push_calls()

    def push(self) -> None:
        """Write what waits, as much as the pipes take; that nobody reads them, the status pipe tells."""
        self._push_calls()
        self._push_control()

    def _push_calls(self) -> None:
        while self._outbox:
            try:
                written = os.writev(self._task_w, self._outbox[:64])
            except BlockingIOError:
                return
            self._outbox = drop_written(self._outbox, written)

    def _ask_for_stacks(self) -> None:
        """Have the worker write its stacks down the pipe for them."""
        if SIGNAL is None:
            raise OSError(errno.ENOTSUP, "this system has no signal to spare")
        os.kill(self.pid, SIGNAL)

    def control(self, message: Any) -> None:
        """Send a short message down the control pipe; one that finds no room there is for ``push``.

        Nobody waits for that room: a worker that C code holds reads nothing, and is to be killed all the same.
        """
        self._untold.append(memoryview(pack(message)[0]))
        self._push_control()

    def _push_control(self) -> None:
        while self._untold:
            frame = self._untold[0]
            try:
                written = os.write(self._control_w, frame)
            except BlockingIOError:
                return
            if written < len(frame):
                self._untold[0] = frame[written:]
            else:
                self._untold.popleft()

    def receive(self) -> list[tuple[Any, memoryview]]:
        """Read the frames that are there, without waiting."""
        frames: list[tuple[Any, memoryview]] = []
        reader = self.reader
        try:
            while not frames:
                if not reader.read_once():
                    self.ended = True
                    break
                while (frame := reader.next_frame()) is not None:
                    frames.append(frame)
        except BlockingIOError:
            pass
        return frames

    def receive_rest(self) -> list[tuple[Any, memoryview]]:
        """Read every whole frame that a dead worker left in the pipe."""
        frames: list[tuple[Any, memoryview]] = []
        while more := self.receive():
            frames.extend(more)
        return frames

    def reap(self) -> None:
        """Take in that the worker is dead, and how; waits for the exit code if need be."""
        if not self.dead:
            self.exitcode = keeper.read_status(self.status_r)
            if self.exitcode is None:
                self.kill()  # the keeper was killed: see that the worker is gone too
            self.dead = True

    def kill(self) -> None:
        """Kill the worker and its children, on Linux those in sessions of their own, too."""
        if not self.dead:
            kill_family(self.pid)

    def leave(self) -> None:
        """Tell the worker to end in order, after what it was sent before."""
        self.post(pack((serving.LEAVE,)))

    def close(self) -> None:
        """Close all ends; the process is dead, or this is a forked child and it is another's."""
        _handles.discard(self)
        if self.watcher:
            # It leaves right behind the worker. Not ours, in a forked child: then there is nothing to wait for.
            with suppress(ChildProcessError):
                os.waitpid(self.watcher, 0)
        fds = (self._task_w, self.result_r, self._control_w, self.status_r, self.depot_fd)
        for fd in (*fds, *self.held):
            if fd >= 0:
                os.close(fd)
        self.depot_fd = -1
        self.reports.close()
        self.stacks.close()
        self._end_lending()
        self.journal.close()

    def _end_lending(self) -> None:
        """Use again what the worker had: it is dead, or this is a fork, which sends nothing."""
        for slots in (self.argument_slots, self.result_slots):
            if slots is not None:
                slots.declare_void()


def launch(method: str, setup: Setup, **details: Any) -> WorkerHandle:
    """Start a worker process and send it what it begins with; ``details`` are those of ``_launch``.

    A keeper that dies meanwhile has a successor, which starts the worker. One that was forked, and not yet
    told anything, has pipes of its own, whose other ends are closed: wherever the kernel does not kill it
    with its keeper, it ends at the end of those. So no worker begins twice.

    Raises
    ------
    OSError
        The system has no process, memory or file descriptor to give, or each keeper in a row has died.
    """
    for _ in range(_MOST_KEEPERS - 1):
        with suppress(keeper.KeeperLost):
            return _launch(method, setup, **details)
    return _launch(method, setup, **details)


def _launch(
    method: str,
    setup: Setup,
    *,
    pool: str,
    index: int,
    depot: Depot | None = None,
    reporting: dict[str, Any] | None = None,
    blas_threads: int | None = None,
) -> WorkerHandle:
    """Try once. With ``reporting`` the worker gets one pipe more, and is told what to report through it.

    Whatever the system may have none of is asked for before there is a process.
    """
    with inheritance.spawning() as inheriting:
        setup_pickle = pickling.dumps(setup)
    exported = memory.exported()
    plain = {
        "pool": pool,
        "index": index,
        "reporting": reporting,
        **surroundings(f"{pool}-{index}", method, blas_threads),
    }
    boot = pack(
        (
            serving.BOOT,
            plain,
            [token for token, _ in exported],
            len(inheriting.fds),
            len(setup_pickle),
            depot is not None,
        ),
        [setup_pickle],
    )
    # What the worker gets is closed here in any case; what is ours, if there will be none.
    with ExitStack() as theirs, ExitStack() as ours:
        task_r, task_w = _pipe(theirs, ours)
        result_r, result_w = _pipe(ours, theirs)
        control_r, control_w = _pipe(theirs, ours)
        held = [_kept(ours, os.dup(fd)) for fd in (task_r, control_r)]
        stack_r, stack_w = _pipe(ours, theirs)
        journal_fd = _kept(theirs, make_journal())
        journal = Journal(journal_fd)
        ours.callback(journal.close)
        _widen(task_w)
        _widen(result_r)
        given = [task_r, result_w, control_r, journal_fd, stack_w]
        depot_fd, control = -1, None
        if depot is not None:
            depot_fd = _kept(ours, nameless.make("depot"))
            nameless.grow(depot_fd, 0, CONTROL_SIZE)
            control = mmap.mmap(depot_fd, CONTROL_SIZE)
            ours.callback(control.close)
            # One of the worker's own: a fork closes what is ours.
            given += [_kept(theirs, os.dup(depot_fd)), depot.fd]
        given += [fd for _, fd in exported]
        given += inheriting.fds
        given += [_kept(theirs, fd) for fd in _tracker()]
        reports = NO_REPORTS
        if reporting is not None:
            report_r, report_w = _pipe(ours, theirs)
            reports = ReportPipe(report_r)
            given.append(report_w)
        if method == "fork":
            pid, status_r, kept_by = _fork(given, ours)
        else:
            pid, status_r, kept_by = keeper.keeper.start_worker(
                keeper.SPAWN if method == "spawn" else keeper.FORK, given
            )
        ours.pop_all()
    fds = (task_w, result_r, control_w, status_r)
    handle = WorkerHandle(pid, fds, journal, stack_r, depot_fd, control)
    handle.keeper, handle.watcher = kept_by, kept_by if method == "fork" else 0
    handle.reports, handle.held = reports, held
    try:
        handle.post(boot)
    except BaseException:
        handle.kill()
        handle.reap()
        handle.close()
        raise
    return handle


def _pipe(reads: ExitStack, writes: ExitStack) -> tuple[int, int]:
    """Make a pipe, whose ends are closed with these."""
    r, w = os.pipe()
    return _kept(reads, r), _kept(writes, w)


def _kept(by: ExitStack, fd: int) -> int:
    by.callback(os.close, fd)
    return fd


def _tracker() -> list[int]:
    """Give a descriptor of multiprocessing's resource tracker, if it can be had.

    It is one of the caller's own: newer Pythons close the tracker's in a forked child.
    """
    from multiprocessing import resource_tracker

    with suppress(OSError):
        fd = resource_tracker.getfd()
        if fd is not None:
            return [os.dup(fd)]
    return []


def _widen(fd: int) -> None:
    """Ask for a wide pipe, so that a whole batch fits; any width will do."""
    if LINUX:
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_SIZE)


def _fork(given: list[int], ours: ExitStack) -> tuple[int, int, int]:
    """Fork this very process, with a watcher between the two that does a keeper's duty for one worker."""
    parent = os.getpid()
    status_r, status_w = os.pipe()
    try:
        with deaf_to_ctrl_c():
            watcher = os.fork()
            if watcher == 0:
                code = 1
                try:
                    os.close(status_r)
                    ours.close()
                    code = watch_fork(given, status_w, parent)
                finally:
                    os._exit(code)
    except BaseException:
        os.close(status_r)
        os.close(status_w)
        raise
    os.close(status_w)
    pid = keeper.read_status(status_r)
    if pid is None or pid <= 0:
        os.close(status_r)
        _, status = os.waitpid(watcher, 0)
        message = f"its watcher {_how_ended(status)} before it had forked it"
        raise keeper.not_started(pid, f"a worker process could not be started: {message}")
    return pid, status_r, watcher


def _how_ended(status: int) -> str:
    """Say what a wait status tells."""
    code = os.waitstatus_to_exitcode(status)
    return f"ended with exit code {code}" if code >= 0 else f"was killed by signal {-code}"


def _in_child() -> None:
    """In a forked child: close the ends that belong to the parent, or its workers would not see it go."""
    for handle in list(_handles):
        handle.stacks.close_in_child()
        handle.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
