"""The keeper: a small process that starts workers, and ends them all when the parent is gone.

It is a clean interpreter with one thread, so forking it is safe whatever the
parent does (``forkserver``); it can also start a fresh interpreter for each
worker (``spawn``). It runs no user code.

What it promises
- For each worker there is a *status pipe* whose write end only the keeper holds.
  The worker's pid goes through it first, its exit code at its death; then it is
  closed. No child of the worker can hold it open, so an end of it is an end.
- When the parent is gone (its socket ends, or on Linux its pidfd says so,
  whatever other process may hold the socket), every worker and its children are
  killed (``family.py``), and the keeper leaves.
- When a worker dies otherwise than in order, the children in its process group
  are killed.
- When the keeper itself is killed, all status pipes end without an exit code, and
  on Linux the kernel kills the workers (``PR_SET_PDEATHSIG``). The parent
  starts a new keeper for the next worker, and for one that was being started (``launch.py``).
"""

from __future__ import annotations

import _socket  # what is behind ``socket``, which takes a twentieth of the time until the first worker runs
import errno
import gc
import os
import select
import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

from workpool import _compat
from workpool._compat import Lock, daemon_threads_allowed
from workpool.calm import deaf_to_ctrl_c
from workpool.ipc import requests
from workpool.ipc.family import end_children, take_dead
from workpool.ipc.fresh import run_python, sys_path
from workpool.ipc.prctl import prctl
from workpool.ipc.requests import read_status, write_status
from workpool.ipc.streams import occupy_standard_streams

__all__ = [
    "START_METHODS",
    "Keeper",
    "KeeperLost",
    "death_of",
    "default_start_method",
    "die_with",
    "keeper",
    "main",
    "not_started",
    "read_status",
    "write_status",
]

START_METHODS = ("forkserver", "spawn", "fork") if hasattr(os, "fork") else ()

_DIED = "a worker process could not be started: the process that starts workers died meanwhile"
_PR_SET_PDEATHSIG = 1
FORK, SPAWN = b"f", b"s"


# ------------------------------------------------------------------ the parent's side


def default_start_method() -> str:
    """Give the method that never forks a process with threads, and starts fastest."""
    return "forkserver"


class KeeperLost(OSError):
    """The process that was to start a worker died meanwhile; with other pipes, another can be asked."""


class Keeper:
    """The parent's end: one keeper process for all pools of this process."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards all below
        self._fd = -1  # our end of the socket
        self._pid = 0
        self._owner = 0  # the process it was started by: a fork starts its own

    def start_worker(self, method: bytes, fds: list[int]) -> tuple[int, int, int]:
        """Start a worker with these descriptors; gives its pid, its status pipe and the pid of its keeper.

        Raises
        ------
        KeeperLost
            The keeper was killed, or died at its start. It is forgotten: the next call starts another. A worker
            that it had forked ends with it, but may live for a moment, and have these descriptors.
        OSError
            No keeper or no process could be started, or too many descriptors are open.
        """
        if len(fds) >= requests.MOST_FDS:
            message = (
                f"a worker can be given {requests.MOST_FDS} file descriptors at most, not {len(fds)}; hold fewer pipes "
                "and queues of multiprocessing in initargs"
            )
            raise OSError(errno.E2BIG, message)
        status_r, status_w = os.pipe()
        try:
            with self._lock:
                fd = self._ensure()
                asked = self._pid
                try:
                    requests.send(fd, method, [status_w, *fds])
                except (BrokenPipeError, ConnectionResetError):
                    self._bury(asked)
                    raise KeeperLost(_DIED) from None
        except BaseException:
            os.close(status_r)
            raise
        finally:
            os.close(status_w)
        pid = read_status(status_r)
        if pid is None or pid <= 0:
            os.close(status_r)
            if pid is None:
                with self._lock:
                    self._bury(asked)
            raise not_started(pid, _DIED)
        return pid, status_r, asked

    def warm(self) -> None:
        """Have a keeper started, so that it gets ready while the caller does other things."""
        with suppress(OSError), self._lock:  # who needs it will hear of the failure
            self._ensure()

    def end(self) -> None:
        """End the keeper and wait for it; for an interpreter whose process lives on when it has ended."""
        with self._lock:
            self._forget()
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)

    def _ensure(self) -> int:
        """Give our end of the socket to a keeper that was alive a moment ago; lock held."""
        if self._fd >= 0 and self._owner == os.getpid():
            with suppress(ChildProcessError):
                if os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                    return self._fd
        self._forget()
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            code = (
                f"import gc, sys; collects = gc.isenabled(); gc.disable(); sys.path[:] = {sys_path()!r}; "
                f"from workpool.ipc.keeper import main; main({theirs.fileno()}, {os.getpid()}, collects)"
            )
            with deaf_to_ctrl_c():
                self._pid = run_python(code, [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._fd = ours.detach()
        if self._owner != os.getpid() and not daemon_threads_allowed():  # not the main interpreter
            import atexit

            atexit.register(self.end)
        self._owner = os.getpid()
        return self._fd

    def _bury(self, pid: int) -> None:
        """Let go of a keeper whose end of a pipe is closed, and which is all but gone; lock held.

        It may look alive for a moment yet. When it has been waited for, the kernel has killed its workers. Not
        one that another thread has started since.
        """
        if pid == self._pid and self._fd >= 0:
            self._forget()
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _forget(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def not_started(word: int | None, died: str) -> OSError:
    """Make the error of a start that failed: by the errno that was told instead of a pid, or who died before that."""
    if word:
        return OSError(-word, f"a worker process could not be started: {os.strerror(-word)}")
    return KeeperLost(died)


keeper = Keeper()


def _fresh_keeper() -> None:
    """In a forked child: let go of the parent's keeper; its lock may be held by a thread that is not here."""
    global keeper  # noqa: PLW0603 - one for each process
    inherited = keeper._fd
    keeper = Keeper()
    if inherited >= 0:
        os.close(inherited)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_keeper)


# ------------------------------------------------------------------ the keeper's side

# What workers need is loaded once for all of them; nothing of the user's. The first is for every one.
_NEEDED = ("multiprocessing.spawn", "multiprocessing.resource_tracker", "resource")
# A program that makes a pool imports workpool.Pool, and its workers import the program's __main__ and so
# the same. The first worker does not wait for that.
_PRELOADED = (
    *("runpy", "ctypes", "logging", "concurrent.futures"),
    *("workpool.ipc.stand_ins", "workpool.task", "workpool.pool"),
)
_QUIET = 20  # milliseconds without a request or a death: the first worker has begun


def main(conn_fd: int, parent: int, collects: bool = True) -> None:
    """Serve until the parent is gone; then kill what is left. ``collects`` says whether workers collect garbage."""
    from workpool.ipc import worker

    _compat.in_worker = True
    for name in _NEEDED:
        import_module(name)
    occupy_standard_streams()  # before there are pipes; workers that are forked from here have them too
    with suppress(OSError):
        os.setpgid(0, 0)  # Ctrl-C on the terminal is the parent's to deal with
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What the thread of the program had blocked that started this: SIGCHLD, which wakes us, and what
    # it waits for itself. Workers are to hear what they are sent, and what they start as well.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    wake_r, wake_w = os.pipe()
    os.set_blocking(wake_w, False)
    os.set_blocking(wake_r, False)
    signal.signal(signal.SIGCHLD, _on_child)
    signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
    conn = _socket.socket(fileno=conn_fd)
    poller = select.poll()
    poller.register(conn_fd, select.POLLIN)
    poller.register(wake_r, select.POLLIN)
    parent_fd = death_of(parent)
    if parent_fd is not None:
        poller.register(parent_fd, select.POLLIN)
    spare = [os.dup(wake_w)]  # see requests.receive
    workers: dict[int, int] = {}  # pid to the write end of its status pipe
    left = list(_PRELOADED)
    pause = 0  # milliseconds to wait before the next is loaded
    try:
        while True:
            # A worker that is the only one is started at once, and has the processor to itself. Whoever
            # asks while there is another one gets a worker that finds everything loaded.
            ready = {fd for fd, _ in poller.poll(pause if left else None)}
            if wake_r in ready:
                with suppress(BlockingIOError):
                    os.read(wake_r, 4096)
            _reap(workers)
            if parent_fd in ready:
                return
            if left and (not ready or (workers and conn_fd in ready)):
                pause = 0
                import_module(left.pop(0))
                continue
            if conn_fd in ready:
                method, fds = requests.receive(conn, spare, parent)
                if not method:
                    return
                pause = _QUIET
                private = [conn_fd, wake_r, wake_w, *spare, *workers.values()]
                if parent_fd is not None:
                    private.append(parent_fd)
                if fds:
                    _start(worker, method, fds, workers, private, collects=collects)
    finally:
        # In a forked worker this is never reached: it leaves by os._exit.
        conn.detach()
        end_children(list(workers))


def _on_child(*_: object) -> None:
    """Do nothing; the wake-up descriptor tells."""


def death_of(pid: int) -> int | None:
    """Give a descriptor that becomes readable when a process dies, where there is such a thing."""
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        return int(opener(pid))
    except ProcessLookupError:
        sys.exit(0)
    except OSError:
        return None


def _reap(workers: dict[int, int]) -> None:
    """Pass on the exit codes of all workers that have ended."""
    while True:
        try:
            pid, status = take_dead(-1)
        except ChildProcessError:
            return
        if not pid:
            return
        status_w = workers.pop(pid, None)
        if status_w is not None:
            with suppress(OSError):
                write_status(status_w, os.waitstatus_to_exitcode(status))
            os.close(status_w)


def _start(
    worker: Any,
    method: bytes,
    fds: list[int],
    workers: dict[int, int],
    private: list[int],
    *,
    collects: bool = True,
) -> None:
    """Fork (or spawn) a worker, and tell its pid; a failure is told as minus its errno."""
    status_w, *passed = fds
    gc.freeze()  # what is here is looked through by no worker, which would make copies of it
    try:
        pid = _spawn(passed) if method == SPAWN else os.fork()
    except OSError as error:
        with suppress(OSError):
            write_status(status_w, -(error.errno or 1))
        os.close(status_w)
    else:
        if pid == 0:
            code = 1
            try:
                for fd in (*private, status_w):
                    os.close(fd)
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                if collects:
                    gc.enable()
                code = worker.main(passed, os.getppid())
            finally:
                os._exit(code)
        workers[pid] = status_w
        with suppress(OSError):
            write_status(status_w, pid)
    for fd in passed:
        os.close(fd)


def _spawn(fds: list[int]) -> int:
    code = (
        f"import gc, sys; collects = gc.isenabled(); gc.disable(); sys.path[:] = {sys.path!r}; "
        "from workpool.ipc.worker import main; import os, signal; collects and gc.enable(); "
        # What we ignore, we would have it and all that tasks start ignore as well.
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"os._exit(main({fds!r}, {os.getpid()}))"
    )
    return run_python(code, fds)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` dies, where it can (Linux)."""
    # If not: it died before the kernel was asked.
    if prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL)) and os.getppid() != parent:
        os._exit(1)
