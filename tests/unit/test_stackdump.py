"""Looking at the threads of a worker that is an interpreter, while some of them end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gates import DEADLINE
from workpool._compat import gil_enabled, has_interpreters

ROOT = Path(__file__).parents[2]

# In a worker the threads of the program do the same. Without care it crashes within a second or two.
LOOKS = """
import sys, threading, time
from workpool.ipc.stackdump import places_of_others

sys.setswitchinterval(1e-5)
until = time.monotonic() + 2.0
looks = 0

def come_and_go():
    while time.monotonic() < until:
        for thread in [threading.Thread(target=int) for _ in range(4)]:
            thread.start()

for _ in range(3):
    threading.Thread(target=come_and_go).start()
while time.monotonic() < until:
    looks += sum(1 for _ in places_of_others()) > 0
print(looks > 0, sys.getswitchinterval() < 1e-4)
"""


@pytest.mark.skipif(not has_interpreters(), reason="here nobody looks in this way")
@pytest.mark.skipif(not gil_enabled(), reason="threads go on while one looks")
def test_threads_may_end_while_somebody_looks() -> None:
    """None of them runs during a look, and so none ends in the middle of it."""
    done = subprocess.run(
        [sys.executable, "-c", LOOKS],
        check=False,
        capture_output=True,
        cwd=ROOT,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\n", "")
