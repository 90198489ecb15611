"""Ctrl-C in a program that waits for a group: heard at once, and nothing of the group goes on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.gates import DEADLINE

SCRIPT = """
import os, signal, sys, threading, time
from concurrent.futures import wait
from workpool import Pool

sent = []

def endless(begun):
    open(begun, "w").close()  # a pipe with a name: whoever opens its other end goes on now
    threading.Event().wait(600)

def strike(begun):
    open(begun).close()
    submitted.wait(60)
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)

submitted = threading.Event()

if __name__ == "__main__":
    backend, fifo = sys.argv[1:]
    os.mkfifo(fifo)
    threading.Thread(target=strike, args=(fifo,), daemon=True).start()
    with Pool(1, backend=backend) as pool:
        begun = waiting = None
        try:
            with pool.group() as group:
                begun = group.submit(endless, fifo)
                waiting = group.submit(print, "never")
                submitted.set()
        except KeyboardInterrupt:
            late = time.monotonic() - sent[0]
            print("interrupted", waiting.cancelled(), "at once" if late < 1 else late)
            if backend == "process":
                wait([begun], 60)
                print("ended", begun.cancelled())
            raise
"""


@pytest.mark.parametrize(
    ("backend", "says"),
    [
        ("thread", ["interrupted True at once"]),
        ("process", ["interrupted True at once", "ended True"]),
    ],
)
def test_ctrl_c_ends_the_wait_for_a_group(
    backend: str, says: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A real signal: KeyboardInterrupt within a second, what waits is cancelled, what can be ended is ended."""
    program = tmp_path_factory.mktemp("program") / "program.py"
    program.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(program), backend, str(program.with_name("begun"))],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env=dict(os.environ),
        start_new_session=True,
    )
    assert done.stdout.splitlines() == says
    assert "KeyboardInterrupt" in done.stderr
