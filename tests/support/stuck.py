"""Tasks that go on for a long time, each in a way of its own, and say so first: ``word pid``.

They are what a program is busy with when it is interrupted or killed. None is
waited for: a test that does has failed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["WAYS", "daemonize", "leave_session", "stuck", "tell"]

LONG = 30  # seconds


def tell(word: object, pid: int | None = None) -> None:
    """Write a line to standard output, past all buffers."""
    os.write(1, f"{word} {os.getpid() if pid is None else pid}\n".encode())


def stuck(way: str = "waiting", *_: Any) -> None:
    """Say that we are here, and be busy that way for a long time."""
    WAYS[way]()


def _waiting() -> None:
    tell("waiting")
    threading.Event().wait(LONG)


def _in_c() -> None:
    """Hold the interpreter's lock in C."""
    tell("in_c")
    ctypes.PyDLL(None).sleep(LONG)  # house: sleep - C code that holds the lock and hears nothing


def _deaf() -> None:
    """Block every signal that can be."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    tell("deaf")
    threading.Event().wait(LONG)


def _stubborn() -> None:
    """Ignore every signal that can be, and every exception."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    tell("stubborn")
    while True:
        try:
            threading.Event().wait(LONG)
        except BaseException:
            tell("survived")


def _computing() -> None:
    tell("computing")
    sum(range(1 << 36))


def _with_child() -> None:
    child = subprocess.Popen(["sleep", str(LONG)])
    tell("child", child.pid)
    tell("with_child")
    child.wait()


def start_session(ready: int = 1) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, which has a child in turn, and then says so."""
    code = (
        "import os, subprocess; child = subprocess.Popen(['sleep', '30']); "
        f"os.write(1, f'grandchild {{child.pid}}\\n'.encode()); os.close({ready}); child.wait()"
    )
    child = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", code], start_new_session=True, pass_fds=[ready]
    )
    tell("session", child.pid)
    return child


def leave_session() -> None:
    """Start such a child, and return when both are there: they are let go of, and stay our descendants."""
    read, write = os.pipe()
    start_session(write).returncode = 0  # nobody complains that it was not waited for
    os.close(write)
    os.read(read, 1)
    os.close(read)


def _with_session() -> None:
    """Have such a child, and wait for it."""
    child = start_session()
    tell("with_session")
    child.wait()


def _with_orphan() -> None:
    """Have a child whose parent is gone, and which has not left our group."""
    if not os.fork():
        if not os.fork():
            tell("orphan")
            threading.Event().wait(LONG)
        os._exit(0)
    os.wait()
    tell("with_orphan")
    threading.Event().wait(LONG)


def _with_daemon() -> None:
    """Have made a daemon, as the books say: two forks, a session and no outputs of ours."""
    daemonize()
    tell("with_daemon")
    threading.Event().wait(LONG)


def daemonize() -> None:
    """Make a daemon, which has told of itself and let go of the outputs when this returns."""
    read, write = os.pipe()
    if not os.fork():
        os.setsid()
        if not os.fork():
            tell("daemon")
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            os.execv("/bin/sleep", ["sleep", str(LONG)])  # and all else is closed
        os._exit(0)
    os.close(write)
    os.wait()
    os.read(read, 1)
    os.close(read)


def _with_pool() -> None:
    """Have a pool of processes in turn."""
    from workpool import Pool

    tell("with_pool")
    with Pool(1, backend="process") as pool:
        pool.submit(stuck, "waiting").result()


WAYS: dict[str, Callable[[], None]] = {
    "waiting": _waiting,
    "in_c": _in_c,
    "deaf": _deaf,
    "stubborn": _stubborn,
    "computing": _computing,
    "with_child": _with_child,
    "with_session": _with_session,
    "with_orphan": _with_orphan,
    "with_daemon": _with_daemon,
    "with_pool": _with_pool,
}
