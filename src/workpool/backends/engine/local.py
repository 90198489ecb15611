"""An engine on this machine, in a process of its own, for a pool that names no cluster.

The engine's threads are that process's, not the program's. It ends when it is told so
through its standard input, with the pool; or when that ends, with the program, however
that ends; and the engine's own processes end with it. What tasks print goes where the
program's output goes.

- A forked child of the program has no part in it: it lets go of its copy of that pipe. Where
  it cannot (it was forked past Python), the word of the end is heeded all the same.
- One whose start is given up is killed with all that it has started: it may be far from
  reading anything. What it has on the disk has its number in its name, and goes, too.

The process runs a module of the engine's whose ``main`` is given what is here its last
argument: the descriptor to tell its address by, once there is one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from contextlib import contextmanager, suppress
from glob import glob
from typing import TYPE_CHECKING

from workpool.errors import WorkerStartFailed

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["LocalEngine", "folder_for", "tell_address", "wait_for_the_end"]

# Sockets may be among an engine's files, and a socket's path has about 100 characters at most.
_SHORT = "/tmp"  # noqa: S108 - mkdtemp makes the folder itself
_PATIENCE = 20.0  # seconds that the engine's processes have to end

_engines: weakref.WeakSet[LocalEngine] = weakref.WeakSet()  # of this program


class LocalEngine:
    """The process that has the engine, as seen from the program."""

    def __init__(self, what: str, module: str, *arguments: str, **variables: str) -> None:
        hear, tell = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, on a module of ours
                # Nothing is imported from the current folder, unless the program does (-P).
                [sys.executable, "-P", "-m", module, *arguments, str(tell)],
                bufsize=0,  # what is written goes at once, and a child that is forked inherits no lock
                stdin=subprocess.PIPE,
                pass_fds=[tell],
                env={**os.environ, "PYTHONPATH": _import_path(), **variables},
                start_new_session=True,  # Ctrl-C is the program's; it ends the engine by the pipe
            )
        except BaseException:
            os.close(hear)
            raise
        finally:
            os.close(tell)
        _engines.add(self)
        self.pid = self._process.pid
        try:
            # The end of the pipe is that of the process: whatever becomes of it, this returns.
            with open(hear, encoding="utf-8") as said:
                self.address = said.readline().strip()
        except BaseException:
            self._kill()
            raise
        if not self.address:
            self.close()
            message = (
                f"{what} on this machine could not be started (exit code {self._process.returncode}); its stderr says "
                "why. Pass address= of one that runs."
            )
            raise WorkerStartFailed(message)

    @property
    def exit_code(self) -> int | None:
        """The exit code of its process; None while it runs."""
        return self._process.poll()

    def close(self) -> None:
        """End the engine, and wait until it has."""
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(
            OSError, ValueError
        ):  # it has ended; or this is a forked child, or a second call
            pipe.write(b"end\n")
        pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_PATIENCE)
        if self._process.returncode != 0:  # or somebody has killed it, and not what it has started
            self._kill()

    def let_go(self) -> None:
        """Have no part in it, in a forked child: it is the parent's."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _kill(self) -> None:
        """End it at once, with all of its session, and take away what it had on the disk."""
        process = self._process
        assert process.stdin is not None
        process.stdin.close()
        if sys.platform != "win32":
            with suppress(ProcessLookupError, PermissionError):  # macOS, of one that is not reaped
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        for left in glob(
            os.path.join(_place() or tempfile.gettempdir(), _name("*", process.pid, "*"))
        ):
            shutil.rmtree(left, ignore_errors=True)


def _import_path() -> str:
    """Say where this program imports from, so that its workers can; Python passes over what is no text, too."""
    places: list[object] = [*sys.path]
    return os.pathsep.join(path or os.getcwd() for path in places if isinstance(path, str))


@contextmanager
def folder_for(engine: str) -> Generator[str]:
    """Have a folder for the engine's files as long as it runs; in the engine's process."""
    with tempfile.TemporaryDirectory(
        prefix=_name(engine, os.getpid()), dir=_place(), ignore_cleanup_errors=True
    ) as folder:
        if sys.platform != "win32":
            os.open(folder, os.O_RDONLY)  # held until this ends: anybody can see whose it is
        yield folder


def _place() -> str | None:
    return _SHORT if os.path.isdir(_SHORT) else None


def _name(engine: str, process: int, rest: str = "") -> str:
    return f"workpool-{engine}-{process}-{rest}"


def tell_address(descriptor: int, address: str) -> None:
    """Tell the program where the engine is; in the engine's process."""
    with suppress(BrokenPipeError):  # the program has ended, and so does the standard input
        os.write(descriptor, f"{address}\n".encode())
    os.close(descriptor)


def wait_for_the_end() -> None:
    """Wait until the program has no more use for the engine; in the engine's process."""
    sys.stdin.readline()


def _after_fork() -> None:
    for engine in list(_engines):
        engine.let_go()
    _engines.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
