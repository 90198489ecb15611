"""The thread that stays inside of one worker's interpreter, and the parent's handle of it.

The thread makes the interpreter, enters it, serves there until it is told to leave, and
destroys it: all in one thread, so that what tasks keep in a ``threading.local`` or in a
connection of one thread is there for the next task. A call into the interpreter for each
task would be slower, too: it costs some 50 microseconds, more than the way through a pipe.

The end of a worker is told by the status pipe, as that of a process is. A worker that is
written off is at its end for its driver, which starts another; the thread is a *stray*
from then on (`strays`), keeps its own descriptors and destroys its interpreter if its task ever ends.
"""

from __future__ import annotations

import errno
import mmap
import os
import select
import sys
import threading
from contextlib import ExitStack, suppress
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool._compat import Lock, daemon_threads_allowed
from workpool.backends.interpreter import strays
from workpool.ipc import guest, inheritance, lives, mainmodule, nameless, pickling, serving
from workpool.ipc.depot import CONTROL_SIZE
from workpool.ipc.frames import pack
from workpool.ipc.journal import Journal, make_journal
from workpool.ipc.launch import WorkerHandle
from workpool.ipc.loans import Tenancy
from workpool.ipc.reportpipe import NO_REPORTS, ReportPipe
from workpool.ipc.shortage import is_shortage
from workpool.plain import paths, words
from workpool.safelog import SafeLog
from workpool.waits import Event

if TYPE_CHECKING:
    from workpool.ipc.depot import Depot, Slots
    from workpool.situation import Setup

__all__ = ["WRITTEN_OFF", "InterpreterHandle", "launch"]

WRITTEN_OFF = "being written off"  # a cause of death
_ANSWER_WITHIN = 0.2  # seconds; who does not answer is held by C code
_LAST_STEPS = 1.0  # seconds at most, for the few steps of a thread that has told of its end
_PATH, _FDS = "__workpool_path__", "__workpool_fds__"
# Leaves no name behind that could be taken for one of the program's __main__.
_BEGIN = (
    f"__import__('sys').path[:] = {_PATH}; "
    f"__import__('workpool.ipc.guest', fromlist=['main']).main({_FDS})"
)

_log = SafeLog("workpool")


class Host:
    """One interpreter, and the thread in it."""

    def __init__(self, name: str, fds: list[int], status_w: int) -> None:
        self.name = name
        self.cause = "an unknown cause"
        self.ended = Event()  # the thread has left its interpreter
        self.destroyed = False  # and so its interpreter is gone, and what it had mapped or lent
        self.lent: list[Slots] = []  # of the worker, once its driver has done with it
        self._fds = fds
        self._lock = Lock()  # guards all below
        self._status_w = status_w
        self.exitcode: int | None = None
        self.short: OSError | None = None  # set before the end is told
        self.thread = threading.Thread(target=self._run, name=name, daemon=daemon_threads_allowed())

    def tell(self, exitcode: int, cause: str) -> None:
        """Tell the driver, once, that the worker is at its end."""
        with self._lock:
            if self._status_w < 0:
                return
            self.exitcode, self.cause = exitcode, cause
            os.close(self._status_w)  # whose end is what is read
            self._status_w = -1

    @property
    def told(self) -> bool:
        """Whether the worker is at its end, or written off."""
        return self._status_w < 0

    def end_lending(self) -> None:
        """Let the memory be used again that the interpreter was lent; it is destroyed."""
        for slots in self.lent:
            slots.declare_void()

    def _run(self) -> None:
        exitcode, cause = 1, "an error of its interpreter"
        try:
            interpreters: Any = import_module("concurrent.interpreters")
            interpreter = _create(interpreters)
            try:
                interpreter.prepare_main({_PATH: tuple(paths(sys.path)), _FDS: tuple(self._fds)})
                interpreter.exec(_BEGIN)
                exitcode, cause = 0, "an early end"
            finally:
                interpreter.close()
                # No locks here: the other thread does its two steps in the other order.
                self.destroyed = True
                self.end_lending()
        except BaseException as error:
            cause = f"an error of its interpreter ({type(error).__name__})"
            if _is_for_want_of_memory(error):
                self.short = OSError(str(error))  # heeded if it came before the worker had begun
            elif not self.told:  # of a stray nobody wants to know how it ended
                _log.exception("%s failed", self.name)
        finally:
            for fd in self._fds:
                with suppress(OSError):
                    os.close(fd)
            self.tell(exitcode, cause)
            self.ended.set()
            strays.forget(self)


def _create(interpreters: Any) -> Any:
    """Make an interpreter; a MemoryError if it cannot be had, whatever the reason: Python tells none."""
    try:
        return interpreters.create()
    except interpreters.InterpreterError as error:
        raise MemoryError(str(error)) from error


def _is_for_want_of_memory(error: BaseException) -> bool:
    # What was raised in there is told here by the name of its class.
    kind = getattr(getattr(error, "excinfo", None), "type", None)
    return is_shortage(error) or getattr(kind, "__name__", "") == MemoryError.__name__


class InterpreterHandle(WorkerHandle):
    """The parent's ends of one interpreter."""

    SLOTS = Tenancy

    def __init__(
        self,
        host: Host,
        fds: tuple[int, int, int, int],
        journal: Journal,
        stack_r: int,
        depot_fd: int,
        control: mmap.mmap | None,
    ) -> None:
        super().__init__(os.getpid(), fds, journal, stack_r, depot_fd, control)
        self.host = host
        self._heard: list[tuple[Any, memoryview]] = []  # while we waited for an answer
        self._barrier = Lock()

    @property
    def cause(self) -> str:
        """What was its end, in words."""
        return self.host.cause

    def receive(self) -> list[tuple[Any, memoryview]]:
        """Give the frames that are there, those first that were heard while we waited for an answer."""
        frames, self._heard = self._heard, []
        return frames or super().receive()

    def reap(self) -> None:
        """Take in that the worker is at its end; waits for it."""
        if not self.dead:
            os.read(self.status_r, 1)  # waits for its end
            self.exitcode, self.short = self.host.exitcode, self.short or self.host.short
            self.dead = True

    def kill(self) -> None:
        """Write it off; see ``ipc/guest.py``."""
        if self.dead or self.host.told:
            return
        self.journal.declare_void()
        with self._barrier:  # the note first, then a look at what has begun
            pass
        self.control((guest.GIVE_UP, 0))
        self._hear_last_words(monotonic() + _ANSWER_WITHIN)
        if not self.host.told:
            strays.add(self.host, self._control_w)
            self.host.tell(1, WRITTEN_OFF)

    def _hear_last_words(self, until: float) -> None:
        """Take in what it has finished, until it says that nothing will begin any more."""
        poller = select.poll()
        poller.register(self.result_r, select.POLLIN)
        poller.register(self.status_r, select.POLLIN)
        while (left := until - monotonic()) > 0:
            if self._untold:
                poller.register(self._control_w, select.POLLOUT)
            ready = [fd for fd, _ in poller.poll(left * 1000)]
            if self._untold:
                poller.unregister(self._control_w)
                self._push_control()
            frames = super().receive()
            self._heard += [frame for frame in frames if frame[0][0] != guest.GIVEN_UP]
            if len(frames) > len(self._heard) or any(f[0][0] == guest.GIVEN_UP for f in frames):
                return
            if self.status_r in ready:
                return

    def _ask_for_stacks(self) -> None:
        # By any thread: so what waits for room is left to whoever has the turn, and an OSError says so.
        if self._untold:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        os.write(self._control_w, pack((guest.STACK, 0))[0])

    def close(self) -> None:
        """Close all ends."""
        # Whoever asks for a stack writes to the control pipe.
        self.stacks.close()
        super().close()
        if self.dead and self.host.cause != WRITTEN_OFF:
            self.host.thread.join(_LAST_STEPS)

    def _end_lending(self) -> None:
        """Use again what the worker had when its interpreter is destroyed: one that is written off still reads it."""
        self.host.lent = [slots for slots in (self.argument_slots, self.result_slots) if slots]
        if self.host.destroyed:  # meanwhile; it may have looked before they were noted
            self.host.end_lending()


def launch(
    setup: Setup,
    *,
    pool: str,
    index: int,
    depot: Depot | None,
    reporting: dict[str, Any] | None,
) -> InterpreterHandle:
    """Start a worker, and send it what it begins with; an OSError if the system has no thread or file to give."""
    extras: list[int] = []
    if setup.does_something:
        with inheritance.spawning() as inheriting:
            setup_pickle = pickling.dumps(setup)
        extras = inheriting.fds
    else:
        setup_pickle = pickling.dumps(setup)
    plain = {
        "pool": pool,
        "index": index,
        "reporting": reporting,
        "argv": words(sys.argv),
        "without": [name for name in guest.STREAMS if getattr(sys, f"__{name}__", None) is None],
        "main": mainmodule.ours(),
        "lives": lives.shared_number(),
    }
    boot = pack(
        (serving.BOOT, plain, len(extras), len(setup_pickle), depot is not None), [setup_pickle]
    )
    with ExitStack() as undo:  # once the thread has begun, it closes what is the guest's
        task_r, task_w = _pipe(undo)
        result_r, result_w = _pipe(undo)
        control_r, control_w = _pipe(undo)
        held = [_kept(undo, os.dup(fd)) for fd in (task_r, control_r)]
        own_control_w = _kept(undo, os.dup(control_w))
        stack_r, stack_w = _pipe(undo)
        journal_fd = _kept(undo, make_journal())
        journal = Journal(journal_fd)
        undo.callback(journal.close)
        guests = [task_r, result_w, control_r, own_control_w, journal_fd, stack_w]
        depot_fd, control = -1, None
        if depot is not None:
            depot_fd = _kept(undo, nameless.make("depot"))
            nameless.grow(depot_fd, 0, CONTROL_SIZE)
            control = mmap.mmap(depot_fd, CONTROL_SIZE)
            undo.callback(control.close)
            guests += [_kept(undo, os.dup(fd)) for fd in (depot_fd, depot.fd)]
        guests += [_kept(undo, os.dup(fd)) for fd in extras]
        reports = NO_REPORTS
        if reporting is not None:
            report_r, report_w = _pipe(undo)
            reports = ReportPipe(report_r)
            guests.append(report_w)
        status_r, status_w = _pipe(undo)
        host = Host(f"{pool}-{index}-interpreter", guests, status_w)
        try:
            host.thread.start()
        except RuntimeError as error:  # no thread to be had
            raise OSError(str(error)) from error
        undo.pop_all()
    fds = (task_w, result_r, control_w, status_r)
    handle = InterpreterHandle(host, fds, journal, stack_r, depot_fd, control)
    handle.reports, handle.held = reports, held
    handle.post(boot)
    return handle


def _pipe(undo: ExitStack) -> tuple[int, int]:
    r, w = os.pipe()
    return _kept(undo, r), _kept(undo, w)


def _kept(undo: ExitStack, fd: int) -> int:
    undo.callback(os.close, fd)
    return fd
