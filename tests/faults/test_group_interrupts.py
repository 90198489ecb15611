"""Ctrl-C in a program that waits for a group: heard at once, and nothing of the group goes on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.gates import DEADLINE

SCRIPT = """
import os, signal, sys, threading, time
from workpool import Pool

def endless(path):
    open(path + str(os.getpid()), "w").close()
    threading.Event().wait(600)

def strike(folder):
    while not os.listdir(folder):
        time.sleep(0.01)
    time.sleep(0.2)  # the program waits by now, most likely; the promise holds before it, too
    os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    backend, folder = sys.argv[1:]
    threading.Thread(target=strike, args=(folder,), daemon=True).start()
    with Pool(1, backend=backend) as pool:
        begun = waiting = None
        try:
            with pool.group() as group:
                begun = group.submit(endless, folder + "/")
                waiting = group.submit(print, "never")
        except KeyboardInterrupt:
            print("interrupted", waiting.cancelled())
            if backend == "process":
                while not begun.done():
                    time.sleep(0.01)
                print("ended", begun.cancelled())
            raise
"""


@pytest.mark.parametrize(
    ("backend", "says"),
    [("thread", ["interrupted True"]), ("process", ["interrupted True", "ended True"])],
)
def test_ctrl_c_ends_the_wait_for_a_group(
    backend: str, says: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A real signal: KeyboardInterrupt at once, what waits is cancelled, what can be ended is ended."""
    program = tmp_path_factory.mktemp("program") / "program.py"
    program.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(program), backend, str(tmp_path_factory.mktemp("begun"))],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env=dict(os.environ),
        start_new_session=True,
    )
    assert done.stdout.splitlines() == says
    assert "KeyboardInterrupt" in done.stderr
