"""Programs that run beside a test: it talks with them, sends them signals, and sees them and theirs end.

A program's standard output is a line of words that the test reads one by one,
whoever wrote them: the program or its workers. Both outputs are pipes, so their
end means that nobody is left who could write to them.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.gates import DEADLINE
from tests.support.scripts import PRELUDE, ROOT

__all__ = ["Ended", "Program", "Watched"]

# One that says nothing for too long is asked where it stands, before it is killed.
SHOW_STACKS = """\
import faulthandler, signal
sys.stderr and faulthandler.register(signal.SIGUSR2)
"""


class Ended(NamedTuple):
    """How a program ended, and what it had said that nobody read before."""

    code: int
    lines: list[str]
    errors: str


class Program:
    """A script that is started in a session of its own, as a shell starts a job.

    Parameters
    ----------
    script : str
        Its text. It begins as all scripts do, with ``Pool``, ``tasks`` and ``BACKEND``.
    *args : str
        Its arguments, the name of the backend first.
    command : list of str or None
        How to start it instead of ``python -c``; the text then goes to its standard input.
    flags : tuple of str
        For the interpreter.
    env : dict of str
        What its environment has more than ours.
    """

    def __init__(
        self,
        script: str,
        *args: str,
        command: list[str] | None = None,
        flags: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        text = PRELUDE + SHOW_STACKS + textwrap.dedent(script)
        # What is left in there is found when the program has ended.
        self.temp = Path(tempfile.mkdtemp(prefix="program-"))
        shown = command if command is not None else ["-c", text]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", *flags, *shown, *args],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(self.temp),
                **(env or {}),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        if command is not None:
            self.process.stdin.write(text.encode())
        self.process.stdin.close()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._heard = {self.process.stdout.fileno(): b"", self.process.stderr.fileno(): b""}
        self._open = set(self._heard)
        self._out, self._err = self._heard

    # ------------------------------------------------------------------- talking

    def line(self, timeout: float = DEADLINE) -> str:
        """Wait for the next line that the program or a worker of it says."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._heard[self._out]:
            if self._out not in self._open or not self._listen(deadline):
                raise AssertionError("the program said no more than", *self._all_it_says())
        line, _, self._heard[self._out] = self._heard[self._out].partition(b"\n")
        return line.decode()

    def lines(self, count: int, timeout: float = DEADLINE) -> list[str]:
        """Wait for so many lines."""
        return [self.line(timeout) for _ in range(count)]

    def watched(self, timeout: float = DEADLINE) -> Watched:
        """Wait for a line ``word pid``, and keep an eye on that process."""
        word, pid = self.line(timeout).split()
        return Watched(word, int(pid))

    def interrupt(self, *, group: bool) -> None:
        """Send Ctrl-C as a terminal does, to the whole group; or to the program alone."""
        (os.killpg if group else os.kill)(self.process.pid, signal.SIGINT)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the program alone a signal."""
        os.kill(self.process.pid, number)

    # -------------------------------------------------------------------- its end

    def end(self, timeout: float = DEADLINE) -> Ended:
        """Wait until the program has ended and nobody is left who holds its outputs."""
        deadline = time.monotonic() + timeout
        while self._open:
            if not self._listen(deadline):
                said = self._all_it_says()
                raise AssertionError("somebody still holds the outputs of the program", *said)
        code = self.process.wait(max(0.1, deadline - time.monotonic()))
        left = self._heard[self._out].decode().splitlines()
        return Ended(code, left, self._heard[self._err].decode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        left = sorted(str(path) for path in self.temp.rglob("*"))
        for path in left[::-1]:
            (os.rmdir if os.path.isdir(path) else os.unlink)(path)
        os.rmdir(self.temp)
        assert kind is not None or not left, f"the program left names behind: {left}"

    def _all_it_says(self) -> tuple[bytes, str]:
        """Give what it has said and nobody has read, and the stacks of its threads, if it is there."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGUSR2)
            while self._open and self._listen(time.monotonic() + 1):
                pass
        return self._heard[self._out], self._heard[self._err].decode()

    def _listen(self, deadline: float) -> bool:
        """Take in what is said next; False if that is nothing until the deadline."""
        poller = select.poll()
        for fd in self._open:
            poller.register(fd, select.POLLIN)
        ready = poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
        for fd, _ in ready:
            said = os.read(fd, 1 << 16)
            if said:
                self._heard[fd] += said
            else:
                self._open.discard(fd)
        return bool(ready)


class Watched:
    """A process that is not our child, whose end is told by the kernel."""

    def __init__(self, word: str, pid: int) -> None:
        self.word = word
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def gone(self, timeout: float) -> bool:
        """Wait for its end; tell whether it came in time. To be asked once."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        try:
            return bool(poller.poll(timeout * 1000))
        finally:
            os.close(self._fd)
