"""The worker process: reads calls from its pipe, runs them, and sends what came out.

The main thread runs tasks; a second thread sleeps on the control pipe. What the
two share (``_todo``, ``_recalled``, ``_outbox``, the result pipe) is guarded by one
lock that is never held while user code runs.

- A call is *begun* by one step under the lock: taken off ``_todo`` and noted in
  the journal. The control thread takes back what is left in ``_todo`` under the
  same lock, so each call is either begun here or handed back.
- Outcomes wait in ``_outbox`` (and in the journal, in case of a kill) until they
  go out together: when nothing is left to do, or half a millisecond has gone by.

The process belongs to a process group of its own, so that its children can be
ended with it and Ctrl-C on the terminal does not reach it.
"""

from __future__ import annotations

import marshal
import os
import signal
import sys
import threading
from collections import deque
from contextlib import suppress
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from workpool.current import Setup, Situation
from workpool.errors import NotPicklable
from workpool.ipc import inheritance, memory, pickling
from workpool.ipc.frames import LARGE, FrameReader, pack, unpack_payload, write_all
from workpool.ipc.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BACK", "DONE", "FAILED", "READY", "main"]

# Kinds of frames. To the worker:
BOOT, CALLS, ITEMS, LEAVE = 0, 1, 2, 3
RECALL, CANCEL = 4, 5  # on the control pipe
# From the worker:
READY, FAILED, DONE, BACK, GONE = 10, 11, 12, 13, 14
# Kinds of outcomes:
VALUE, ERROR, UNREADABLE = 0, 1, 2
# How a call's data becomes arguments; from PLAIN_ITEM on it is not pickled any more:
CALL, ITEM, STAR, PLAIN_ITEM, PLAIN_STAR = 0, 1, 2, 3, 4

_FLUSH_AFTER = 500_000  # nanoseconds that outcomes wait for company while there is more to do
_FNS_KEPT = 64  # functions kept unpickled, by their pickle


def main(fds: list[int], parent: int) -> int:
    """Run as a worker process; gives the exit code."""
    from workpool.ipc.keeper import die_with

    with suppress(OSError):
        os.setpgid(0, 0)
    die_with(parent)
    process = WorkerProcess(*fds[:4], fds[4:])
    try:
        process.serve()
    finally:
        _leave_in_order()
    return 0


def _leave_in_order() -> None:
    """Do what a multiprocessing child does at its end."""
    threading._shutdown()  # type: ignore[attr-defined]
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._exit_function()  # type: ignore[attr-defined]
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()


class WorkerProcess:
    """State of this worker process; there is one."""

    def __init__(self, task_r: int, result_w: int, control_r: int, journal_fd: int, more: list[int]) -> None:
        self._reader = FrameReader(task_r)
        self._result_w = result_w
        self._control = FrameReader(control_r)
        self._journal = Journal(journal_fd)
        os.close(journal_fd)
        self._more = more
        self._lock = threading.Lock()  # guards _todo, _recalled, _begun, _outbox, the journal, and writes to the result pipe
        self._todo: deque[tuple[int, Any]] = deque()  # (number, call) read and not begun
        self._recalled = -1  # calls up to this number that have not begun are not to begin
        self._outbox: list[Any] = []  # outcomes not sent
        self._flushed_at = 0
        self._begun = -1  # number of the latest call that has begun
        self._running = -1  # the same, while it runs
        self._cancelled = -1  # number of the call that somebody wants ended
        self._functions: dict[bytes, Callable[..., Any]] = {}
        self._situation = Situation("", -1)
        self._name = ""
        self._task_id = -1
        self._attempt = 0

    # ----------------------------------------------------------------------- life

    def serve(self) -> None:
        """Begin, run what comes, and leave when told to or when the parent is gone."""
        message = self._wait_for_frame()
        if message is None:
            return
        header, payloads = message
        try:
            setup = self._boot(header, payloads)
            entered = setup.entered(self._situation)
            entered.__enter__()
        except BaseException as error:
            self._send((FAILED, pickling.dump_error(error, "the start of a worker")))
            return
        threading.Thread(target=self._obey, name="workpool-control", daemon=True).start()
        self._send((READY,))
        try:
            self._run_all()
        finally:
            with self._lock:
                self._flush()
            try:
                entered.__exit__(None, None, None)
            except BaseException as error:
                self._send((GONE, pickling.dump_error(error, "the end of a worker")))

    def _boot(self, header: Any, payloads: memoryview) -> Setup:
        """Become a process like the parent: paths, ``__main__``, environment, shared memory."""
        _, plain, tokens, extras, setup_size = header
        arenas, rest = self._more[: len(tokens)], self._more[len(tokens) :]
        memory.adopt(zip(tokens, arenas, strict=True))
        inherited = rest[:extras]
        tracker = rest[extras:]
        from multiprocessing import process, resource_tracker, spawn, util

        if tracker:
            resource_tracker._resource_tracker._fd = tracker[0]  # type: ignore[attr-defined]
        os.environ.clear()
        os.environ.update(plain["environ"])
        util._close_stdin()  # type: ignore[attr-defined]
        preparation = plain["preparation"]
        if "authkey" in preparation:
            preparation["authkey"] = process.AuthenticationString(preparation["authkey"])  # type: ignore[attr-defined]
        self._situation = situation = Situation(plain["pool"], plain["index"])
        situation.task_id = lambda: self._task_id
        situation.task_name = lambda: self._name
        situation.attempt = lambda: self._attempt
        situation.cancelled = lambda: self._cancelled >= 0 and self._cancelled == self._running
        # A script without a __main__ guard would make its pool again here.
        process.current_process()._inheriting = True  # type: ignore[attr-defined]
        try:
            spawn.prepare(preparation)
            inheritance.inherited[:] = inherited
            setup: Setup = pickling.loads(payloads[:setup_size])
        finally:
            del process.current_process()._inheriting  # type: ignore[attr-defined]
        return setup

    def _wait_for_frame(self) -> tuple[Any, memoryview] | None:
        reader = self._reader
        while (frame := reader.next_frame()) is None:
            if not reader.read_once():
                return None
        return frame

    def _run_all(self) -> None:
        todo = self._todo
        while True:
            if not todo:
                with self._lock:
                    self._flush()
                frame = self._wait_for_frame()
                if frame is None or frame[0][0] == LEAVE:
                    return
                self._accept(*frame)
            while todo:
                with self._lock:
                    if not todo:
                        break  # taken back since
                    number, call = todo.popleft()
                    if number <= self._recalled:
                        continue
                    now = monotonic_ns()
                    self._journal.begin(number, now)
                    self._running = self._begun = number
                self._run(number, call, now)

    def _accept(self, header: Any, payloads: memoryview) -> None:
        """Put what came in a frame on the list of things to do."""
        at = 0
        entries: list[tuple[int, Any]] = []
        if header[0] == CALLS:
            for number, (task_id, name, attempt, fn, args) in enumerate(header[2], header[1]):
                data, at = unpack_payload(args, payloads, at)
                entries.append((number, (task_id, name, attempt, fn, data, CALL)))
        else:
            _, first, start, name, attempt, star, fn, items = header
            shape = STAR if star else ITEM
            if items.__class__ is bytes:  # plain values, pickled together
                shape = PLAIN_STAR if star else PLAIN_ITEM
                for offset, item in enumerate(pickling.loads(items)):
                    entries.append((first + offset, (start + offset, name, attempt, fn, item, shape)))
            else:
                for offset, part in enumerate(items):
                    data, at = unpack_payload(part, payloads, at)
                    entries.append((first + offset, (start + offset, name, attempt, fn, data, shape)))
        with self._lock:
            self._todo.extend(entries)

    # ------------------------------------------------------------------- one call

    def _run(self, number: int, call: Any, began: int) -> None:
        """Run one call and write down its outcome."""
        self._task_id, self._name, self._attempt, fn_pickle, data, shape = call
        del call
        try:
            fn = self._functions.get(fn_pickle)
            if fn is None:
                fn = self._function(fn_pickle)
            argument = data if shape >= PLAIN_ITEM else pickling.loads(data)
        except BaseException as error:
            kind, payload = UNREADABLE, pickling.dump_error(error, self._label())
        else:
            kind, payload = self._call(fn, argument, shape)
            del fn, argument
        del data
        self._record(number, kind, payload, began, monotonic_ns())

    def _call(self, fn: Callable[..., Any], argument: Any, shape: int) -> tuple[int, bytes]:
        """Call the function; gives the kind of the outcome and its pickle."""
        try:
            if shape == CALL:
                args, kwargs = argument
                value = fn(*args, **kwargs)
            elif shape in (ITEM, PLAIN_ITEM):
                value = fn(argument)
            else:
                value = fn(*argument)
        except BaseException as error:
            trace = error.__traceback__
            return ERROR, pickling.dump_error(error.with_traceback(trace and trace.tb_next), self._label())
        try:
            return VALUE, pickling.dump_result(value, self._label())
        except NotPicklable as error:
            return ERROR, pickling.dump_error(error, self._label())

    def _function(self, data: bytes) -> Callable[..., Any]:
        fn: Callable[..., Any] = pickling.loads(data)
        if pickling.reusable(fn, data):
            if len(self._functions) >= _FNS_KEPT:
                self._functions.clear()
            self._functions[data] = fn
        return fn

    def _label(self) -> str:
        return f"task {self._task_id} ({self._name})"

    def _record(self, number: int, kind: int, payload: bytes, began: int, ended: int) -> None:
        """Write an outcome down, and send what has gathered if it is time."""
        outcome = (number, kind, payload, began, ended)
        with self._lock:
            self._running = -1
            kept = len(payload) < LARGE and self._journal.finish(marshal.dumps(outcome))
            self._outbox.append(outcome)
            if not kept or not self._todo or ended - self._flushed_at > _FLUSH_AFTER:
                self._flush()

    def _flush(self) -> None:
        """Send the outcomes that wait; lock held. The journal keeps them until they are sent."""
        outbox = self._outbox
        if not outbox:
            return
        large = [outcome[2] for outcome in outbox if len(outcome[2]) >= LARGE]
        if large:
            outbox = [(n, k, p if len(p) < LARGE else len(p), b, e) for n, k, p, b, e in outbox]
        write_all(self._result_w, pack((DONE, outbox), large))
        self._journal.empty()
        self._outbox = []
        self._flushed_at = monotonic_ns()

    def _send(self, message: Any) -> None:
        with self._lock:
            write_all(self._result_w, pack(message))

    # ------------------------------------------------------------- the control thread

    def _obey(self) -> None:
        """Do what comes down the control pipe; its end means that the parent is gone."""
        control = self._control
        while True:
            while (frame := control.next_frame()) is None:
                if not control.read_once():
                    _end_group()
            kind, number = frame[0]
            if kind == RECALL:
                with self._lock:
                    # What has not begun, here or still in the pipe, is not to begin.
                    self._recalled = max(self._recalled, number)
                    self._todo.clear()
                    self._flush()
                    write_all(self._result_w, pack((BACK, self._begun, number)))
            elif kind == CANCEL:
                self._cancelled = number


def _end_group() -> None:
    """End this process and its children at once."""
    with suppress(OSError):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
