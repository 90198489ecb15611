"""The worker process: ``serving.py`` in a process of its own.

The process belongs to a process group of its own, so that its children can be
ended with it and Ctrl-C on the terminal does not reach it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from contextlib import AbstractContextManager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from workpool import _compat
from workpool.ipc import inheritance, mainmodule, memory, pickling
from workpool.ipc.copies import end_copies
from workpool.ipc.family import end_children
from workpool.ipc.journal import Journal
from workpool.ipc.outbox import Outbox
from workpool.ipc.serving import Serving, tell_of_shortage
from workpool.ipc.shortage import is_shortage
from workpool.ipc.stacksignal import hear_for_others, leave_stacks
from workpool.ipc.streams import occupy_standard_streams
from workpool.ipc.surroundings import settle_in
from workpool.ipc.warning import Warnings

if TYPE_CHECKING:
    from workpool.ipc.reporting import Reporter
    from workpool.situation import Setup

__all__ = ["main"]

_FOR_FAILURES = ("traceback", "workpool.errors", "workpool.ipc.stand_ins")
_A_MOMENT = 20  # milliseconds
_MOST_RESTS = 100  # short ones, before those are loaded all the same


def main(fds: list[int], parent: int) -> int:
    """Run as a worker process; gives the exit code. What ended it by a fault of its own is printed."""
    try:
        _main(fds, parent)
    except (KeyboardInterrupt, SystemExit):  # of a signal's handler, while no task ran
        return 1
    except BaseException as error:
        from traceback import print_exception

        # Who started this process ends it with os._exit, and the pool knows an exit code only.
        with suppress(BaseException):
            print_exception(error, file=sys.__stderr__)
        return 1
    return 0


def _main(fds: list[int], parent: int) -> None:
    from workpool.ipc.keeper import die_with

    _compat.in_worker = True
    occupy_standard_streams()
    with suppress(OSError):
        os.setpgid(0, 0)
    die_with(parent)
    for fd in fds:
        # A fresh interpreter was given them by way of exec. What a task starts that way gets
        # none: a daemon of it would keep pipes, memory and helpers of this program for itself.
        os.set_inheritable(fd, False)
    task_r, result_w, control_r, journal_fd, stack_w, *more = fds
    try:
        leave_stacks(stack_w)
        process = _made(task_r, result_w, control_r, journal_fd, more)
        if process is not None:
            process.serve()
    except BrokenPipeError:
        _end_group()  # nobody is there any more to be told
    finally:
        _leave_in_order()


def _made(
    task_r: int, result_w: int, control_r: int, journal_fd: int, more: list[int]
) -> WorkerProcess | None:
    """Make what serves; None where there is not the memory for it, which is told."""
    try:
        return WorkerProcess(task_r, result_w, control_r, journal_fd, more)
    except (OSError, MemoryError) as error:
        if not is_shortage(error):
            raise
        tell_of_shortage(result_w, error)
        return None


def _leave_in_order() -> None:
    """Do what a multiprocessing child does at its end."""
    threading._shutdown()  # type: ignore[attr-defined]  # private, and in no stub
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._exit_function()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()


class WorkerProcess(Serving):
    """State of this worker process; there is one."""

    def __init__(
        self, task_r: int, result_w: int, control_r: int, journal_fd: int, more: list[int]
    ) -> None:
        journal = Journal(journal_fd)
        os.close(journal_fd)
        super().__init__(task_r, control_r, journal, Outbox(result_w, journal), Warnings())
        end_copies(self._runner, journal, [task_r, result_w, control_r], _leave_in_order)
        self._more = more
        self._calls_come = select.poll()
        self._calls_come.register(task_r, select.POLLIN)
        self._rests = 0 if _FOR_FAILURES[-1] not in sys.modules else _MOST_RESTS
        self._threads = 0  # of this process, before any call

    def _boot(self, header: Any, payloads: memoryview) -> AbstractContextManager[None]:
        """Become a process like the parent: paths, ``__main__``, environment, shared memory."""
        _, plain, tokens, extras, setup_size, lends = header
        report_w = self._more.pop() if plain["reporting"] is not None else -1
        if lends:
            depot_fd, arguments_fd, *self._more = self._more
            self._lend(depot_fd, arguments_fd)
        arenas, rest = self._more[: len(tokens)], self._more[len(tokens) :]
        memory.adopt(zip(tokens, arenas, strict=True))
        inherited = rest[:extras]
        tracker = rest[extras:]
        # What a child of multiprocessing does at its start; the names are private, and in no stub.
        from multiprocessing import process, resource_tracker, spawn, util

        if tracker:
            resource_tracker._resource_tracker._fd = tracker[0]  # type: ignore[attr-defined]  # private
        settle_in(plain)
        threads, share = plain["blas"]
        if share:
            from workpool.ipc import blas

            blas.limit_loaded(threads, share)
        util._close_stdin()  # type: ignore[attr-defined]  # private
        preparation = plain["preparation"]
        if "authkey" in preparation:
            preparation["authkey"] = process.AuthenticationString(preparation["authkey"])  # type: ignore[attr-defined]  # private
        situation = self._situation(plain)
        reporter: Reporter | None = None
        if report_w >= 0:
            reporter = self._report(report_w, plain["reporting"], situation)
        # A script without a __main__ guard would make its pool again here.
        process.current_process()._inheriting = True  # type: ignore[attr-defined]  # private
        try:
            spawn.prepare(preparation)
            mainmodule.note_what_is_there()
            if plain["main"] is not None and sys.modules["__main__"].__name__ != "__mp_main__":
                mainmodule.stand_in(plain["main"])
            if reporter is not None:
                reporter.set_levels(plain["reporting"])  # __main__, imported, may have set its own
            inheritance.inherited[:] = inherited
            setup: Setup = pickling.loads(payloads[:setup_size])
        finally:
            del process.current_process()._inheriting  # type: ignore[attr-defined]  # private
        return setup.entered(situation)

    def _at_rest(self) -> None:
        """Load what a failure needs, when nothing has come for a moment: when there is one, it may be too late.

        Not before the first call, which would wait for that, nor before what comes close behind it; but one day. And
        not beside threads that a call has left here: one may fork, and the child have what is loaded by half.
        """
        if self._runner.begun < 0:
            self._threads = threading.active_count()
        elif self._rests < _MOST_RESTS and threading.active_count() <= self._threads:
            self._rests += 1
            if self._rests == _MOST_RESTS or not self._more_comes():
                self._load_for_failures()

    def _more_comes(self) -> bool:
        try:
            return bool(self._calls_come.poll(_A_MOMENT))
        except OSError:  # there may be no descriptors, by a limit that was set here
            return False

    def _load_for_failures(self) -> None:
        self._rests = _MOST_RESTS
        for name in _FOR_FAILURES:
            with suppress(Exception):  # there is no file or no memory left already
                import_module(name)

    def _obey(self) -> None:
        hear_for_others()
        super()._obey()

    def _forsaken(self) -> None:
        _end_group()


def _end_group() -> None:
    """End this process and its children at once."""
    # Before anything else those that have left the group: once we are dead nobody knows whose they were.
    end_children(())
    with suppress(OSError):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
