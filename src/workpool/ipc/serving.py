"""A worker's own side of its pipes: reads calls, runs them, and sends what came out.

One thread runs calls; a second one sleeps on the control pipe. What the two share
(what is still to do, the outbox, the pipe for outcomes) is guarded by one lock that is
never held while user code runs. A call is begun by one step under it, and the control
thread takes back what has not begun under it, so each call is either begun here or
handed back.

What a worker lives in, a process of its own or an interpreter of its own, is the
affair of ``worker.py`` and ``guest.py``: how it sets itself up, and what it does when
nobody is left at the other end.
"""

from __future__ import annotations

import mmap
import threading
from typing import TYPE_CHECKING, Any

from workpool._compat import RLock, across_forks
from workpool.ipc import pickling
from workpool.ipc.batch import Batch
from workpool.ipc.borrowing import Borrowed
from workpool.ipc.depot import CONTROL_SIZE, Depot, Slots
from workpool.ipc.frames import FrameReader, pack, unpack_payload, write_all
from workpool.ipc.onecall import CALL, ITEM, PLAIN_ITEM, PLAIN_STAR, SOFT, SOFT_CALL, STAR
from workpool.ipc.outbox import DONE
from workpool.ipc.runner import Runner
from workpool.ipc.shortage import is_shortage
from workpool.situation import Mark, Situation, here

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from workpool.ipc.journal import Journal
    from workpool.ipc.outbox import Outbox
    from workpool.ipc.reporting import Reporter
    from workpool.ipc.warning import Warnings

__all__ = ["BACK", "DONE", "FAILED", "READY", "SHORT", "Serving", "tell_of_shortage"]

# Kinds of frames. To the worker:
BOOT, CALLS, ITEMS, LEAVE = 0, 1, 2, 3
RECALL, CANCEL, TRIM, WARN = 4, 5, 6, 7  # on the control pipe
SOFT_CALLS = 8  # as CALLS, of tasks that can be warned
HELLO = 9  # to be answered with READY by the thread that runs calls
# From the worker, beside DONE:
READY, FAILED, BACK, GONE, ENTERING, LEFT = 10, 11, 13, 14, 15, 16
SHORT = 17  # the system had not all that a worker needs: it ends, and has not begun


class Serving:
    """One worker, wherever it lives."""

    RUNNER = Runner

    def __init__(
        self,
        task_r: int,
        control_r: int,
        journal: Journal,
        outbox: Outbox,
        warnings: Warnings | None = None,
    ) -> None:
        self._reader = FrameReader(task_r)
        self._control = FrameReader(control_r)
        self._arguments_fd = -1  # the depot of large arguments
        self._argument_slots: Slots | None = None
        self._depot: Depot | None = None  # of large results
        # Guards what runner and outbox say it does, and writes to the result pipe. A copy of the worker that a task
        # makes (``copies.py``) asks for the number of its call, too, and has no control thread to let go of it.
        # And a finalizer or a signal's handler may ask in the middle of a step.
        self._lock = across_forks(RLock())
        self._outbox = outbox
        self._runner = self.RUNNER(self._lock, journal, outbox, warnings)
        # Numbers of calls that somebody wants ended; replaced as a whole by the control thread.
        self._cancelled: frozenset[int] = frozenset()
        self._own = Mark()  # of what runs here around all calls
        self._mark = self._own  # of the latest call that wanted one; its number is that of the call

    # ----------------------------------------------------------------------- life

    def serve(self) -> None:
        """Begin, run what comes, and leave when told to or when the parent is gone."""
        # Before anything else: an initializer may hang, and its stack is asked for too.
        try:
            self._start_control()
        except RuntimeError as error:  # there is no thread for it
            self._tell_of_shortage(error)
            return
        message = self._wait_for_frame()
        if message is None:
            return
        header, payloads = message
        entering = False
        try:
            entered = self._boot(header, payloads)
            entering = True
            self._send((ENTERING,))  # from here on it is the initializer's or the context's doing
            entered.__enter__()
            self._runner.end_copy(None)
        except BaseException as error:
            self._runner.end_copy(error)
            if not entering and _is_shortage(error):
                self._tell_of_shortage(error, " at its start")
                return
            self._send((FAILED, pickling.dump_error(error, "the start of a worker")))
            return
        self._send((READY,))
        try:
            self._run_all()
        finally:
            self._last_flush()
            try:
                entered.__exit__(None, None, None)
                self._runner.end_copy(None)
            except BaseException as error:
                self._runner.end_copy(error)
                self._send((GONE, pickling.dump_error(error, "the end of a worker")))
        self._send((LEFT,))

    def _tell_of_shortage(self, error: BaseException, when: str = "") -> None:
        self._send((SHORT, _words(error, when)))

    def _start_control(self) -> None:
        """Start the thread that obeys what comes down the control pipe."""
        threading.Thread(target=self._obey, name="workpool-control", daemon=True).start()

    def _boot(self, header: Any, payloads: memoryview) -> AbstractContextManager[None]:
        """Become like the parent, as far as tasks can see; gives what is around all of them."""
        raise NotImplementedError

    def _forsaken(self) -> None:
        """End: there is nobody at the other end of the control pipe any more."""
        raise NotImplementedError

    def _last_flush(self) -> None:
        with self._lock:
            if not self._outbox.torn:
                self._outbox.flush()

    # ------------------------------------------------------------- parts of a boot

    def _lend(self, depot_fd: int, arguments_fd: int) -> None:
        """Lay large results down in that depot, and find large arguments in this one."""
        control = mmap.mmap(depot_fd, CONTROL_SIZE)
        self._arguments_fd = arguments_fd
        self._argument_slots = Slots(control, Slots.SIZE)
        self._depot = Depot(depot_fd, CONTROL_SIZE)
        self._runner.lend_from(self._depot, Slots(control, 0))

    def _situation(self, plain: dict[str, Any]) -> Situation:
        """Make what tells tasks about themselves."""
        situation = Situation(plain["pool"], plain["index"])
        runner = self._runner
        situation.task_id = runner.position
        situation.task_name = runner.task_name
        situation.attempt = lambda: runner.attempt
        situation.mark = self._mark_now
        return situation

    def _report(self, report_w: int, asked: dict[str, Any], situation: Situation) -> Reporter:
        """Report records and prints through that pipe."""
        from workpool.ipc.reporting import Reporter

        runner = self._runner
        reporter = Reporter(report_w, lambda: runner.running)
        here.situation = situation
        reporter.begin(asked, situation)
        return reporter

    def _mark_now(self) -> Mark:
        """Give the mark of the call that runs; in its thread."""
        mark, runner = self._mark, self._runner
        number = runner.running
        if runner.batch is not None:
            with self._lock:
                number = runner.number()
        if mark.of != number:
            if number < 0:
                return self._own
            mark = self._mark = Mark(number)
            if self._is_unwanted(number):
                mark.asked = True
        return mark

    def _ask(self, first: int, last: int) -> None:
        """Set the mark of the call that runs, if its number is one of these; lock held."""
        mark = self._mark
        if first <= mark.of <= last and mark.of == self._runner.number():
            mark.asked = True

    def _is_unwanted(self, number: int) -> bool:
        return number in self._cancelled

    # ----------------------------------------------------------------- calls that come

    def _wait_for_frame(self) -> tuple[Any, memoryview] | None:
        reader = self._reader
        while (frame := reader.next_frame()) is None:
            self._at_rest()
            if not reader.read_once():
                return None
        return frame

    def _at_rest(self) -> None:
        """Be about to sleep until something comes down the pipe for calls."""

    def _run_all(self) -> None:
        while True:
            with self._lock:
                self._outbox.flush()
            frame = self._wait_for_frame()
            if frame is None or frame[0][0] == LEAVE:
                return
            if frame[0][0] == HELLO:
                self._send((READY,))
                continue
            self._accept(*frame)
            del frame
            self._runner.run_all()

    def _accept(self, header: Any, payloads: memoryview) -> None:
        """Put what came in a frame on the list of things to do."""
        at = 0
        entries: list[Any] = []
        warnings = self._runner.warnings
        if warnings is not None and (
            header[0] == SOFT_CALLS or (header[0] == ITEMS and header[5] > 1)
        ):
            warnings.expect()
        if header[0] in (CALLS, SOFT_CALLS):
            shape = CALL if header[0] == CALLS else SOFT_CALL
            function: Any
            data: Any
            for number, (task_id, name, attempt, function, data) in enumerate(header[2], header[1]):
                if function.__class__ is not bytes:
                    function, at = self._payload(function, payloads, at)  # noqa: PLW2901 - where it is
                if data.__class__ is not bytes:
                    data, at = self._payload(data, payloads, at)  # noqa: PLW2901 - as above
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
        control = self._control
        while True:
            while (frame := control.next_frame()) is None:
                self._listen()
                if not control.read_once():
                    self._forsaken()
                    return
            if not self._do(*frame[0]):
                return

    def _listen(self) -> None:
        """Be about to sleep until something comes down the control pipe."""

    def _do(self, kind: int, number: int, *more: Any) -> bool:
        """Do one thing that was asked for; False when it was the last."""
        if kind == RECALL:
            with self._lock:
                if self._outbox.torn:
                    return True  # the worker is about to end, and the parent will hear of that
                # What has not begun, here or still in the pipe, is not to begin.
                self._outbox.send((BACK, self._runner.take_back(number), number))
        elif kind == TRIM:
            if self._depot is not None:
                self._depot.trim()
        elif kind == WARN:
            if self._runner.warnings is not None:
                self._runner.warnings.warn(number, *more)
        elif kind == CANCEL:
            # Those before the one that runs are over.
            running = self._runner.running
            kept = {n for n in self._cancelled if n >= running}
            self._cancelled = frozenset(kept.union(range(number, more[0] + 1)))
            with self._lock:  # no call ends meanwhile
                self._ask(number, more[0])
        return True


def tell_of_shortage(result_w: int, error: BaseException) -> None:
    """Say that there is no worker for want of something; by what was to be one, before it is made."""
    write_all(result_w, pack((SHORT, _words(error))))


def _words(error: BaseException, when: str = "") -> str:
    """Tell what is short; nothing is loaded for that, as there may be no file left to do so."""
    try:
        text = str(error)
    except BaseException:  # the error of a program's own __main__ may be anything
        text = ""
    return f"{type(error).__name__}{when}: {text}" if when or not text else text


def _is_shortage(error: BaseException) -> bool:
    try:
        return is_shortage(error)
    except BaseException:  # as above
        return False
