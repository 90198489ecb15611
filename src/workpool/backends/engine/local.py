"""An engine on this machine, in a process of its own, for a pool that names no cluster.

The engine's threads are that process's, not the program's. It ends when its standard
input does: with the pool, or with the program, however that ends; and the engine's own
processes end with it. What tasks print goes where the program's output goes.

The process runs a module of the engine's whose ``main`` is given what is here its last
argument: the descriptor to tell its address by, once there is one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workpool.errors import WorkerStartFailed

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["LocalEngine", "folder_for", "tell_address", "wait_for_the_end"]

# Sockets may be among an engine's files, and a socket's path has about 100 characters at most.
_SHORT = "/tmp"  # noqa: S108 - mkdtemp makes the folder itself
_PATIENCE = 20.0  # seconds that the engine's processes have to end


class LocalEngine:
    """The process that has the engine, as seen from the program."""

    def __init__(self, what: str, module: str, *arguments: str, **variables: str) -> None:
        hear, tell = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, on a module of ours
                [sys.executable, "-m", module, *arguments, str(tell)],
                stdin=subprocess.PIPE,
                pass_fds=[tell],
                # What this program can import, its workers can.
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                    **variables,
                },
                start_new_session=True,  # Ctrl-C is the program's; it ends the engine by the pipe
            )
        except BaseException:
            os.close(hear)
            raise
        finally:
            os.close(tell)
        self.pid = self._process.pid
        try:
            # The end of the pipe is that of the process: whatever becomes of it, this returns.
            with open(hear, encoding="utf-8") as said:
                self.address = said.readline().strip()
        except BaseException:
            self.close()
            raise
        if not self.address:
            self.close()
            message = (
                f"{what} on this machine could not be started (exit code {self._process.returncode}); its stderr says "
                "why. Pass address= of one that runs."
            )
            raise WorkerStartFailed(message)

    def close(self) -> None:
        """End the engine, and wait until it has."""
        process = self._process
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def folder_for(engine: str) -> Generator[str]:
    """Have a folder for the engine's files as long as it runs; in the engine's process."""
    short = _SHORT if os.path.isdir(_SHORT) else None
    with tempfile.TemporaryDirectory(
        prefix=f"workpool-{engine}-", dir=short, ignore_cleanup_errors=True
    ) as folder:
        if sys.platform != "win32":
            os.open(folder, os.O_RDONLY)  # held until this ends: anybody can see whose it is
        yield folder


def tell_address(descriptor: int, address: str) -> None:
    """Tell the program where the engine is; in the engine's process."""
    os.write(descriptor, f"{address}\n".encode())
    os.close(descriptor)


def wait_for_the_end() -> None:
    """Wait until the program has no more use for the engine; in the engine's process."""
    sys.stdin.read()
