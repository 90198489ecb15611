"""Everything that workpool raises of its own, as one tree.

.. code-block:: text

    Exception
    └── WorkpoolError
        ├── PoolClosed            also RuntimeError       the pool takes no more tasks
        ├── GroupClosed           also RuntimeError       a group takes no more tasks
        ├── ForkedPool            also RuntimeError       a pool met in a forked child
        ├── WouldDeadlock         also RuntimeError       a task waits for what waits for it
        ├── Unsupported           also ValueError         this backend cannot keep that term
        ├── UnknownBackend        also ValueError         no backend has that name
        ├── NotPicklable          also PicklingError      something cannot travel to or from a process
        ├── JoinTimeout           also TimeoutError       tasks were left when the wait ended
        ├── TimeLimitExceeded     also TimeoutError       a task ran past its time limit
        ├── JournalError                              a journal cannot be opened, read or written
        │   ├── JournalInUse      also RuntimeError       another map call has it
        │   └── JournalMismatch   also ValueError         its function or input is not that of this call
        ├── SharedStateLost       also RuntimeError       shared state that no longer exists, or never reached here
        └── BrokenWorker          also BrokenExecutor
            ├── WorkerLost                                a worker died while it ran the task
            ├── WorkerStartFailed                         workers die at start, again and again
            └── InitializerFailed                         initializer or worker_context failed

    WorkerTraceback                                       the text behind an error from a process

Each says what happened, to which value, and the way out. The parts of the
message are attributes too. All survive pickling: an error is rebuilt from its
message alone and its attributes follow (``BaseException.__reduce__``), so every
``__init__`` here takes the message and nothing else that is required.
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from pickle import PicklingError
from typing import Any

from workpool.traces import set_cause, set_context, take_over

__all__ = [
    "BrokenWorker",
    "ForkedPool",
    "GroupClosed",
    "InitializerFailed",
    "JoinTimeout",
    "JournalError",
    "JournalInUse",
    "JournalMismatch",
    "NotPicklable",
    "PoolClosed",
    "SharedStateLost",
    "TimeLimitExceeded",
    "UnknownBackend",
    "Unsupported",
    "WorkerLost",
    "WorkerStartFailed",
    "WorkerTraceback",
    "WorkpoolError",
    "WouldDeadlock",
    "anew",
    "brief",
    "could_not_begin",
    "text_of",
    "without_frames",
]

_LONGEST_TEXT = 1_000  # characters of another's text in a message of ours


class WorkpoolError(Exception):
    """Whatever workpool raises of its own; the root of the tree."""


class PoolClosed(WorkpoolError, RuntimeError):
    """The pool is shut down and takes no more tasks."""


class GroupClosed(WorkpoolError, RuntimeError):
    """A group takes no more tasks: its block has ended or not begun, or it was cancelled."""


class ForkedPool(WorkpoolError, RuntimeError):
    """A pool was used in a forked child: its threads and workers stayed in the parent."""


class WouldDeadlock(WorkpoolError, RuntimeError):
    """A task asked to wait for something that can only end after the task itself."""


class Midway(WouldDeadlock):
    """A pool's lock was taken, and the thread that wants it is in a step of another pool."""


class Unsupported(WorkpoolError, ValueError):
    """A term that this backend, system or Python cannot keep; the message names what can."""


class UnknownBackend(WorkpoolError, ValueError):
    """No backend has that name; the message gives the nearest one."""


class NotPicklable(WorkpoolError, PicklingError):
    """Something cannot be pickled, or cannot be unpickled on the other side.

    Parameters
    ----------
    message : str
        What cannot travel, where it lies, and the way out.
    part : str
        ``"function"``, ``"argument"``, ``"context"``, ``"result"`` or ``"exception"``.
    path : str
        Where the offending object lies, such as ``"options.cache._lock"``; empty when unknown.
    """

    def __init__(self, message: str, *, part: str = "", path: str = "") -> None:
        super().__init__(message)
        self.part = part
        self.path = path


class JoinTimeout(WorkpoolError, TimeoutError):
    """Tasks were left when a join ended; the pool stays open.

    Parameters
    ----------
    message : str
        How many are left, and the names and ages of those still running.
    unfinished : int
        Tasks submitted and not done.
    running : tuple of (str, float)
        Name and age in seconds of each task that was running.
    """

    def __init__(
        self,
        message: str,
        *,
        unfinished: int = 0,
        running: tuple[tuple[str, float], ...] = (),
    ) -> None:
        super().__init__(message)
        self.unfinished = unfinished
        self.running = running


class TimeLimitExceeded(WorkpoolError, TimeoutError):
    """A task ran past its time limit.

    Parameters
    ----------
    message : str
        Which task, and what became of its worker.
    time_limit : float, seconds
        The limit that was passed.
    task : str
        The task's name.
    """

    # Without a message it is sent into a thread that is written off.
    def __init__(self, message: str = "", *, time_limit: float = 0.0, task: str = "") -> None:
        super().__init__(message)
        self.time_limit = time_limit
        self.task = task


class JournalError(WorkpoolError):
    """The journal of a map call cannot be opened, read or written; what it had kept stays.

    Parameters
    ----------
    message : str
        Which file, what could not be done, and the way out.
    path : str
        The file.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class JournalInUse(JournalError, RuntimeError):
    """Another map call, of this process or another, has the journal open."""


class JournalMismatch(JournalError, ValueError):
    """A journal was begun with another function or another input than this call's.

    Parameters
    ----------
    message : str
        Which file, what changed, and the way out.
    path : str
        The file.
    changed : str
        ``"function"`` or ``"input"``.
    position : int or None
        The first item that is seen to have changed.
    """

    def __init__(
        self, message: str, *, path: str = "", changed: str = "", position: int | None = None
    ) -> None:
        super().__init__(message, path=path)
        self.changed = changed
        self.position = position


class SharedStateLost(WorkpoolError, RuntimeError):
    """Shared state that no longer exists, or that this process was never given."""


class BrokenWorker(WorkpoolError, BrokenExecutor):
    """A worker ended, or could not start; the common root of what can befall one."""


class WorkerLost(BrokenWorker):
    """A worker died, or was ended, while it ran the task.

    Parameters
    ----------
    message : str
        Task, worker, exit code or signal, and the OOM killer when it was that.
    task : str
        The task's name.
    worker : int
        Index of the worker, 0 to ``max_workers - 1``.
    exitcode : int or None
        Exit code of the process; ``-n`` for signal n; ``None`` when unknown.
    out_of_memory : bool
        The kernel's OOM killer ended the worker.
    stack : str
        The worker's last stack, where a crash handler could write one; else empty.
    """

    def __init__(
        self,
        message: str,
        *,
        task: str = "",
        worker: int = -1,
        exitcode: int | None = None,
        out_of_memory: bool = False,
        stack: str = "",
    ) -> None:
        super().__init__(message)
        self.task = task
        self.worker = worker
        self.exitcode = exitcode
        self.out_of_memory = out_of_memory
        self.stack = stack


class WorkerStartFailed(BrokenWorker):
    """Workers die at start, again and again: the pool stopped instead of respawning for ever."""


class InitializerFailed(BrokenWorker):
    """The initializer or the worker_context raised, hung or died; its traceback is the cause."""


class WorkerTraceback(Exception):
    """The worker's traceback as text: the ``__cause__`` of an error that came from a process."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def anew(error: BaseException) -> BaseException:
    """Give an error like this one: what many are told of is raised, by each of them, as one of his own.

    An error keeps the frames that it is raised through, and so the arguments and locals of callers. One that a pool
    keeps is raised never, and given anew each time.
    """
    try:
        parts: Any = error.__reduce__()
        another: BaseException = parts[0](*parts[1])
        another.__dict__.update(error.__dict__)
        if "__notes__" in another.__dict__:
            another.__dict__["__notes__"] = list(another.__dict__["__notes__"])
        take_over(another, error)
    except Exception:
        return error  # one of another's, which can be made only by who knows how
    return another


def without_frames(error: BaseException) -> BaseException:
    """Give an error like this one to be kept for long: where its cause was raised is text, and holds no caller's frame.

    A frame keeps the one that called it, up to the program's own, with all their locals.
    """
    from traceback import format_exception

    another, cause = anew(error), error.__cause__
    if another is error or cause is None:
        return another
    bare = anew(cause)
    try:
        text = WorkerTraceback("".join(format_exception(cause)))
    except BaseException as failure:  # user code of all kinds
        from workpool.calm import is_ctrl_c

        if is_ctrl_c(failure):
            raise
        text = WorkerTraceback(brief(cause))
    if bare is cause:
        another.__cause__ = text
    else:
        set_cause(bare, text)
        set_context(bare, None)
        another.__cause__ = BaseException.with_traceback(bare, None)
    return another.with_traceback(None)


def brief(error: BaseException) -> str:
    """Give an error's type and text for a message, whatever its ``__str__`` does and however long it is.

    Without a full stop: the sentence goes on, or ends with its own.
    """
    text = text_of(error).removesuffix(".")
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}... ({len(text)} characters)"
    return f"{type(error).__name__}: {text}"


def text_of(error: BaseException) -> str:
    """Give an error's text, whatever its ``__str__`` does."""
    try:
        return str(error)
    except BaseException as failure:  # user code of all kinds
        from workpool.calm import is_ctrl_c

        if is_ctrl_c(failure):
            raise
        return "(its text could not be made)"


def could_not_begin(
    pool: str, worker: int, cause: BaseException, *, importing: bool = False
) -> InitializerFailed:
    """Make the error that all tasks of a pool get whose workers cannot begin; why comes last: it may be long."""
    what, way_out = "its initializer or worker_context", ""
    if importing:
        what = "the import of __main__, or of what the initializer needs,"
        if type(cause) is AttributeError and "main__'" in str(cause):
            way_out = ". Define it in __main__ above the guard, or in a module"
    failed = InitializerFailed(
        f"worker {worker} of {pool} could not begin, and the pool takes no more tasks: {what} raised "
        f"{brief(cause)}{way_out}"
    )
    failed.__cause__ = cause
    return failed
