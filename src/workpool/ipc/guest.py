"""A worker that is an interpreter of its own, in the parent's process: ``serving.py`` as a guest.

It cannot be killed. What is done to a process by a kill is done here by *writing off*:
the parent notes in the journal that the worker is void, and sends ``GIVE_UP`` down the
control pipe. Then, under the lock, the control thread takes back what has not begun,
sends what is finished, and says so (``GIVEN_UP``); after that an exception is raised in
the thread that runs tasks, now and again, until it leaves: as soon as it runs Python code.

Guarantees
    * After ``GIVEN_UP`` nothing begins, and nothing more comes through the pipe: each
      step that would be seen outside looks first whether the worker is void.
    * Where the answer does not come, because C code of the task holds this interpreter,
      the note in the journal is seen before the next call begins. What stands in the
      journal stays there: nobody writes to it any more.

The rest of what a process has to itself is shared here: environment, working directory, signals (which
are the main interpreter's), standard streams. None of it is touched.
"""

from __future__ import annotations

import atexit
import os
import select
import sys
import threading
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from workpool import _compat
from workpool._compat import gil_enabled
from workpool.ipc import inheritance, lives, mainmodule, pickling
from workpool.ipc.frames import pack
from workpool.ipc.onlookers import in_one_go, is_common, looked_at, prepare_to_strike
from workpool.ipc.runner import Runner
from workpool.ipc.serving import Serving, tell_of_shortage
from workpool.ipc.shortage import is_shortage
from workpool.ipc.voiding import VoidableJournal, VoidableOutbox, WrittenOff
from workpool.target import Target, send_into

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.ipc.reporting import Reporter
    from workpool.ipc.stacktext import Place
    from workpool.situation import Setup

__all__ = ["GIVEN_UP", "GIVE_UP", "STACK", "STREAMS", "STRIKE", "main"]

# Kinds of control frames, beside those of ``serving.py``, and the answer to the first of them.
GIVE_UP, STACK, STRIKE, END = 20, 21, 22, 23
GIVEN_UP = 24

STREAMS = ("stdin", "stdout", "stderr")

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between one exception and the next
_SOON = 0.005  # seconds until the next look, where it could not be sent
_UNSUPPORTED = "does not support loading in subinterpreters"  # what Python says of a module
_WAY_OUT = (
    'It needs a module that cannot be loaded in a sub-interpreter: use backend="process" for it.'
)
_MOST_FRAMES = 200  # of a stack: the pipe takes it whole
_DEEPEST = 20  # errors that are looked at, one the cause of the other


def main(fds: tuple[int, ...]) -> None:
    """Run as a worker, in a fresh interpreter; the descriptors are closed by who made them."""
    atexit.register(_end_memory)  # the first to be registered is the last to be called
    atexit.register(_end_tracker)
    _compat.in_worker = True
    pickling.home = "an interpreter"
    guest: Guest | None = None
    try:
        guest = Guest(*fds)
        guest.serve()
    except BaseException as error:
        if guest is None and is_shortage(error):
            tell_of_shortage(fds[1], error)
        # Where it is written off, or the pipes are closed, nobody is there any more to be told.
        elif not (guest is not None and guest.void) and not isinstance(error, BrokenPipeError):
            raise
    finally:
        if guest is not None:
            guest.end_control()


def _end_tracker() -> None:
    """End multiprocessing's resource tracker, if a task had one started: it is a child of a process that lives on."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    stop = getattr(getattr(module, "_resource_tracker", None), "_stop", None)
    if stop is not None:
        with suppress(Exception):
            stop()


def _end_memory() -> None:
    """Let go of what tasks had in hand, and close the files of shared state that they made: the process lives on.

    Another interpreter of it may use the file of record locks, by its number, where the state was passed on.
    """
    lives.leave()
    module = sys.modules.get("workpool.ipc.memory")
    arena = getattr(module, "_own", None)
    if arena is None:
        return
    fds = [arena.memory_fd] if arena.left else [arena.memory_fd, arena.locks_fd]
    arena.memory_fd = arena.locks_fd = -1  # at its own end it closes no other file
    for fd in fds:
        os.close(fd)


class _Runner(Runner):
    def dump_error(self, error: BaseException, label: str) -> bytes:
        """Say the way out where a module cannot be imported in an interpreter like this."""
        if _is_for_want_of_support(error) and _WAY_OUT not in getattr(error, "__notes__", ()):
            with suppress(Exception):  # some errors let nothing be set
                error.add_note(_WAY_OUT)
        return super().dump_error(error, label)


def _is_for_want_of_support(error: BaseException | None) -> bool:
    """Tell whether it comes of a module that only the main interpreter can load."""
    for _ in range(_DEEPEST):
        if isinstance(error, ImportError) and _UNSUPPORTED in str(error):
            return True
        if error is None:
            return False
        error = error.__cause__ or error.__context__
    return False


class Guest(Serving):
    """State of the worker of this interpreter; there is one."""

    RUNNER = _Runner

    def __init__(
        self,
        task_r: int,
        result_w: int,
        control_r: int,
        control_w: int,
        journal_fd: int,
        stack_w: int,
        *more: int,
    ) -> None:
        journal = VoidableJournal(os.dup(journal_fd))
        super().__init__(task_r, control_r, journal, VoidableOutbox(result_w, journal))
        self._journal = journal
        self._control_w = control_w  # the control thread ends by a word from here
        self._stack_w = stack_w
        self._more = list(more)
        self._given_up = False
        self._pause = _FIRST_PAUSE
        self._put_off = False  # it stood where an exception must not strike
        self._control_r = control_r
        self._thread: threading.Thread | None = None  # the control thread
        self._ident = threading.get_ident()  # of the thread that runs tasks, which is this one
        self._target = Target()
        self._target.stand()
        os.set_blocking(stack_w, False)
        os.write(stack_w, f"listening {self._ident:#x}\n".encode())

    def _boot(self, header: Any, payloads: memoryview) -> AbstractContextManager[None]:
        """Find what the parent finds, by paths and in ``__main__``; environment and files are its own."""
        _, plain, extras, setup_size, lends = header
        report_w = self._more.pop() if plain["reporting"] is not None else -1
        if lends:
            depot_fd, arguments_fd, *self._more = self._more
            self._lend(depot_fd, arguments_fd)
        lives.adopt(plain["lives"])
        sys.argv[:] = plain["argv"]
        for name in plain["without"]:
            # A new interpreter takes for its own whatever file has got the number meanwhile.
            setattr(sys, name, None)
            setattr(sys, f"__{name}__", None)
        mainmodule.stand_in(plain["main"])
        situation = self._situation(plain)
        reporter: Reporter | None = None
        if report_w >= 0:
            reporter = self._report(report_w, plain["reporting"], situation)
            reporter.set_levels(plain["reporting"])
        inheritance.inherited[:] = self._more[:extras]
        setup: Setup = pickling.loads(payloads[:setup_size])
        return setup.entered(situation)

    def _payload(self, part: Any, behind: memoryview, at: int) -> tuple[Any, int]:
        """Give a payload that is read where it lies, too."""
        # A parcel's note begins with where it lies in the depot, which is never below zero.
        if part.__class__ is tuple and self._argument_slots is not None and part[0] < 0:
            from workpool.ipc.loans import Lent

            return Lent(-1, self._argument_slots, part), at
        return super()._payload(part, behind, at)

    def _is_unwanted(self, number: int) -> bool:
        return self._given_up or super()._is_unwanted(number)

    def _last_flush(self) -> None:
        if (
            not self._given_up
        ):  # else an exception may have struck where the lock was ours, and stays so
            with suppress(WrittenOff):
                super()._last_flush()

    def _send(self, message: Any) -> None:
        if not self._given_up:
            super()._send(message)

    # ------------------------------------------------------------- the control thread

    def _start_control(self) -> None:
        # Isolated interpreters have no daemon threads; ``end_control`` sees to the end of this one.
        # Noted first: once it runs, an exception may strike before the next step here.
        self._thread = threading.Thread(target=self._obey, name="workpool-control")
        try:
            self._thread.start()
        except RuntimeError:  # there is none to be had
            self._thread = None
            raise

    @property
    def void(self) -> bool:
        """Whether it is written off."""
        return self._given_up or self._journal.void

    def end_control(self) -> None:
        """Have the control thread end, whatever else comes down its pipe; no exception strikes after that.

        Until then one may, at any step here. So there is no lock here: it would stay locked.
        """
        while self._thread is not None:
            try:
                try:
                    self._write_end()
                except OSError as error:
                    if error.errno is None:
                        raise  # what strikes is one, too: the word is said once more
                self._thread.join()
                _breathe()
                return
            except Exception:
                if not self._given_up:
                    raise

    def _write_end(self) -> None:
        """Say the last word to the control thread; it makes room for that, where much was said before."""
        room = select.poll()
        room.register(self._control_w, select.POLLOUT)
        while True:
            room.poll()
            with suppress(BlockingIOError):  # the driver was quicker
                os.write(self._control_w, pack((END, 0))[0])
                return

    def _forsaken(self) -> None:
        """Do nothing: tasks that were accepted still run, and the pipe for calls ends, too."""

    def _do(self, kind: int, number: int, *more: Any) -> bool:
        if kind == GIVE_UP:
            self._give_up()
        elif kind == STRIKE:
            self._strike()
        elif kind == STACK:
            self._leave_stack()
        elif kind == END:
            return False
        elif not self._given_up:
            with suppress(WrittenOff):
                return super()._do(kind, number, *more)
        return True

    def _listen(self) -> None:
        """Strike again and again once it is written off, less and less often: one may strike where it is swallowed."""
        if not self._given_up:
            return
        poller = select.poll()
        poller.register(self._control_r, select.POLLIN)
        soon = _SOON
        while not poller.poll(1000 * (soon if self._put_off else self._pause)):
            if self._put_off:
                soon = min(2 * soon, _FIRST_PAUSE)
            else:
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            self._strike()

    def _give_up(self) -> None:
        self._given_up = True
        with self._lock:
            self._own.asked = True
            self._ask(0, sys.maxsize)  # before the exception, which may end the call at once
            self._runner.take_back(sys.maxsize)
            with suppress(OSError):
                self._outbox.give_up((GIVEN_UP, self._runner.begun))  # type: ignore[attr-defined]  # of a VoidableOutbox
        self._strike()

    def _strike(self) -> None:
        """Raise an exception in the thread that runs tasks; it hears of it when it runs Python code."""
        self._put_off = False
        if looked_at(self._ident):
            return
        try:
            self._strike_now()
        except Exception:  # for want of memory or files; this thread has more to do
            self._put_off = True

    def _strike_now(self) -> None:
        from workpool.errors import TimeLimitExceeded
        from workpool.ipc.stackdump import look_at_others

        prepare_to_strike()

        def look_and_send(send: Callable[[], object]) -> bool:
            # Without a GIL it moves on while we look.
            if gil_enabled() and any(
                _is_ours(places) and is_common(places) for places, _ in look_at_others()
            ):
                return False
            send()
            return True

        def where(send: Callable[[], object]) -> bool:
            if not gil_enabled():
                return look_and_send(send)
            return in_one_go(partial(look_and_send, send))

        send = partial(send_into, self._ident, where=where)
        self._put_off = not self._target.strike(TimeLimitExceeded, send)

    def _leave_stack(self) -> None:
        """Write down where the thread that runs tasks stands, in the form that ``faulthandler`` has."""
        from workpool.ipc.stackdump import places_of_others

        if not gil_enabled():
            return  # a thread that ends while it is looked at would have Python crash
        for places, _ in places_of_others():
            if _is_ours(places):
                lines = [
                    f'  File "{file}", line {line} in {name}\n' for file, line, name in places[::-1]
                ]
                if len(lines) > _MOST_FRAMES:
                    lines[_MOST_FRAMES // 2 : -_MOST_FRAMES // 2] = []
                text = f"Thread {self._ident:#x} (most recent call first):\n{''.join(lines)}"
                with suppress(OSError):
                    os.write(self._stack_w, text.encode())


def _is_ours(places: list[Place]) -> bool:
    """Tell the stack of the thread that runs tasks."""
    return any(place.file == __file__ and place.name == "main" for place in places)


def _breathe() -> None:
    """Be called: what is about to be raised in this thread is raised at a call."""
