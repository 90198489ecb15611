"""The worker process: reads calls from its pipe, runs them, and sends what came out.

The main thread runs calls; a second thread sleeps on the control pipe. What the
two share (what is still to do, the outbox, the pipe for outcomes) is guarded by one
lock that is never held while user code runs. A call is begun by one step under it,
and the control thread takes back what has not begun under it, so each call is
either begun here or handed back.

The process belongs to a process group of its own, so that its children can be
ended with it and Ctrl-C on the terminal does not reach it.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import threading
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

from workpool.ipc import inheritance, memory, pickling
from workpool.ipc.batch import Batch
from workpool.ipc.borrowing import Borrowed
from workpool.ipc.depot import CONTROL_SIZE, Depot, Slots
from workpool.ipc.family import end_children
from workpool.ipc.frames import FrameReader, unpack_payload
from workpool.ipc.journal import Journal
from workpool.ipc.outbox import DONE, Outbox
from workpool.ipc.runner import CALL, ITEM, PLAIN_ITEM, PLAIN_STAR, SOFT, SOFT_CALL, STAR, Runner
from workpool.ipc.stacksignal import hear_for_others, leave_stacks
from workpool.situation import Setup, Situation, here

if TYPE_CHECKING:
    from workpool.ipc.reporting import Reporter

__all__ = ["BACK", "DONE", "FAILED", "READY", "main"]

# Kinds of frames. To the worker:
BOOT, CALLS, ITEMS, LEAVE = 0, 1, 2, 3
RECALL, CANCEL, TRIM, WARN = 4, 5, 6, 7  # on the control pipe
SOFT_CALLS = 8  # as CALLS, of tasks that can be warned
# From the worker, beside DONE:
READY, FAILED, BACK, GONE, ENTERING = 10, 11, 13, 14, 15


def main(fds: list[int], parent: int) -> int:
    """Run as a worker process; gives the exit code."""
    from workpool.ipc.keeper import die_with

    with suppress(OSError):
        os.setpgid(0, 0)
    die_with(parent)
    task_r, result_w, control_r, journal_fd, stack_w, *more = fds
    leave_stacks(stack_w)
    process = WorkerProcess(task_r, result_w, control_r, journal_fd, more)
    try:
        process.serve()
    except BrokenPipeError:
        _end_group()  # nobody is there any more to be told
    finally:
        _leave_in_order()
    return 0


def _leave_in_order() -> None:
    """Do what a multiprocessing child does at its end."""
    threading._shutdown()  # type: ignore[attr-defined]  # private, and in no stub
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._exit_function()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()


class WorkerProcess:
    """State of this worker process; there is one."""

    def __init__(
        self, task_r: int, result_w: int, control_r: int, journal_fd: int, more: list[int]
    ) -> None:
        self._reader = FrameReader(task_r)
        self._control = FrameReader(control_r)
        journal = Journal(journal_fd)
        os.close(journal_fd)
        self._more = more
        self._arguments_fd = -1  # the depot of large arguments
        self._argument_slots: Slots | None = None
        self._depot: Depot | None = None  # of large results
        # Guards what runner and outbox say it does, and writes to the result pipe.
        self._lock = threading.Lock()
        self._outbox = Outbox(result_w, journal)
        self._runner = Runner(self._lock, journal, self._outbox)
        # Numbers of calls that somebody wants ended; replaced as a whole by the control thread.
        self._cancelled: frozenset[int] = frozenset()

    # ----------------------------------------------------------------------- life

    def serve(self) -> None:
        """Begin, run what comes, and leave when told to or when the parent is gone."""
        # Before anything else: an initializer may hang, and its stack is asked for too.
        threading.Thread(target=self._obey, name="workpool-control", daemon=True).start()
        message = self._wait_for_frame()
        if message is None:
            return
        header, payloads = message
        try:
            entered = self._boot(header, payloads)
            self._send((ENTERING,))  # from here on it is the initializer's or the context's doing
            entered.__enter__()
        except BaseException as error:
            self._send((FAILED, pickling.dump_error(error, "the start of a worker")))
            return
        self._send((READY,))
        try:
            self._run_all()
        finally:
            with self._lock:
                self._outbox.flush()
            try:
                entered.__exit__(None, None, None)
            except BaseException as error:
                self._send((GONE, pickling.dump_error(error, "the end of a worker")))

    def _boot(self, header: Any, payloads: memoryview) -> AbstractContextManager[None]:
        """Become a process like the parent: paths, ``__main__``, environment, shared memory."""
        _, plain, tokens, extras, setup_size, lends = header
        report_w = self._more.pop() if plain["reporting"] is not None else -1
        if lends:
            depot_fd, self._arguments_fd, *self._more = self._more
            control = mmap.mmap(depot_fd, CONTROL_SIZE)
            self._argument_slots = Slots(control, Slots.SIZE)
            self._depot = Depot(depot_fd, CONTROL_SIZE)
            self._runner.lend_from(self._depot, Slots(control, 0))
        arenas, rest = self._more[: len(tokens)], self._more[len(tokens) :]
        memory.adopt(zip(tokens, arenas, strict=True))
        inherited = rest[:extras]
        tracker = rest[extras:]
        # What a child of multiprocessing does at its start; the names are private, and in no stub.
        from multiprocessing import process, resource_tracker, spawn, util

        if tracker:
            resource_tracker._resource_tracker._fd = tracker[0]  # type: ignore[attr-defined]
        os.environ.clear()
        os.environ.update(plain["environ"])
        threads, share = plain["blas"]
        if share:
            from workpool.ipc import blas

            blas.limit_loaded(threads, share)
        util._close_stdin()  # type: ignore[attr-defined]
        preparation = plain["preparation"]
        if "authkey" in preparation:
            preparation["authkey"] = process.AuthenticationString(preparation["authkey"])  # type: ignore[attr-defined]
        situation = Situation(plain["pool"], plain["index"])
        runner = self._runner
        situation.task_id = runner.position
        situation.task_name = runner.task_name
        situation.attempt = lambda: runner.attempt
        situation.cancelled = lambda: runner.running in self._cancelled
        reporter: Reporter | None = None
        if report_w >= 0:
            from workpool.ipc.reporting import Reporter

            reporter = Reporter(report_w, lambda: runner.running)
            here.situation = situation
            reporter.begin(plain["reporting"], situation)
        # A script without a __main__ guard would make its pool again here.
        process.current_process()._inheriting = True  # type: ignore[attr-defined]
        try:
            spawn.prepare(preparation)
            if reporter is not None:
                reporter.set_levels(plain["reporting"])  # __main__, imported, may have set its own
            inheritance.inherited[:] = inherited
            setup: Setup = pickling.loads(payloads[:setup_size])
        finally:
            del process.current_process()._inheriting  # type: ignore[attr-defined]
        return setup.entered(situation)

    def _wait_for_frame(self) -> tuple[Any, memoryview] | None:
        reader = self._reader
        while (frame := reader.next_frame()) is None:
            if not reader.read_once():
                return None
        return frame

    def _run_all(self) -> None:
        while True:
            with self._lock:
                self._outbox.flush()
            frame = self._wait_for_frame()
            if frame is None or frame[0][0] == LEAVE:
                return
            self._accept(*frame)
            del frame
            self._runner.run_all()

    def _accept(self, header: Any, payloads: memoryview) -> None:
        """Put what came in a frame on the list of things to do."""
        at = 0
        entries: list[Any] = []
        if header[0] in (CALLS, SOFT_CALLS):
            shape = CALL if header[0] == CALLS else SOFT_CALL
            for number, (task_id, name, attempt, fn, args) in enumerate(header[2], header[1]):
                function, at = self._payload(fn, payloads, at)
                data, at = self._payload(args, payloads, at)
                entries.append((number, (task_id, name, attempt, function, data, shape)))
        else:
            _, first, start, name, attempt, star, fn, items = header
            fn, at = self._payload(fn, payloads, at)
            if items.__class__ is bytes:  # plain values, pickled together
                shape = PLAIN_STAR if star else PLAIN_ITEM
                entries.append(Batch(first, start, name, attempt, fn, pickling.loads(items), shape))
            else:
                parts: list[Any] = []
                for part in items:
                    data, at = self._payload(part, payloads, at)
                    parts.append(data)
                shape = STAR if star & 1 else ITEM
                if star > 1:  # its items can be warned
                    shape += SOFT
                entries.append(Batch(first, start, name, attempt, fn, parts, shape))
        with self._lock:
            self._runner.todo.extend(entries)

    def _payload(self, part: Any, behind: memoryview, at: int) -> tuple[Any, int]:
        """Give a payload, wherever it is, and where the next one begins."""
        if part.__class__ is bytes:
            return part, at
        if part.__class__ is tuple and self._argument_slots is not None:
            return Borrowed(self._arguments_fd, self._argument_slots, part), at
        return unpack_payload(part, behind, at)

    def _send(self, message: Any) -> None:
        with self._lock:
            self._outbox.send(message)

    # ------------------------------------------------------------- the control thread

    def _obey(self) -> None:
        """Do what comes down the control pipe; its end means that the parent is gone."""
        hear_for_others()
        control = self._control
        while True:
            while (frame := control.next_frame()) is None:
                if not control.read_once():
                    _end_group()
            kind, number = frame[0][:2]
            if kind == RECALL:
                with self._lock:
                    # What has not begun, here or still in the pipe, is not to begin.
                    self._outbox.send((BACK, self._runner.take_back(number), number))
            elif kind == TRIM:
                if self._depot is not None:
                    self._depot.trim()
            elif kind == WARN:
                self._runner.warnings.warn(number, *frame[0][2:])
            elif kind == CANCEL:
                # Those before the one that runs are over.
                running = self._runner.running
                self._cancelled = frozenset(n for n in self._cancelled if n >= running) | {number}


def _end_group() -> None:
    """End this process and its children at once."""
    # Before anything else those that have left the group: once we are dead nobody knows whose they were.
    end_children(())
    with suppress(OSError):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
