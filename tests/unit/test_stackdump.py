"""Looking at the threads of a worker that is an interpreter, while some of them end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gates import DEADLINE
from workpool._compat import gil_enabled, has_interpreters

pytestmark = [
    pytest.mark.skipif(not has_interpreters(), reason="here nobody looks in this way"),
    pytest.mark.skipif(not gil_enabled(), reason="threads go on while one looks"),
]

ROOT = Path(__file__).parents[2]

# In a worker the threads of the program do the same. Without care it crashes within a second or two.
LOOKS = """
import gc, sys, threading, time
from workpool.ipc.stackdump import places_of_others

sys.setswitchinterval(1e-5)
until = time.monotonic() + 2.0
looks = 0

def look():
    global looks
    while time.monotonic() < until:
        looks += len(places_of_others()) > 0

def come_and_go():
    while time.monotonic() < until:
        for thread in [threading.Thread(target=int) for _ in range(4)]:
            thread.start()

for _ in range(3):
    threading.Thread(target=come_and_go).start()
another = threading.Thread(target=look)
another.start()
look()
another.join()
print(looks > 0, sys.getswitchinterval() < 1e-4, gc.isenabled())
"""

MANY = """
import threading
from workpool.ipc.stackdump import places_of_thread

end = threading.Event()
threads = [threading.Thread(target=end.wait) for _ in range(150)]
for thread in threads:
    thread.start()
print(all(places_of_thread(thread.ident) for thread in threads[::30]))
end.set()
"""


def printed(script: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        cwd=ROOT,
        text=True,
        timeout=DEADLINE,
    )
    return done.returncode, done.stdout, done.stderr


def test_threads_may_end_while_somebody_looks() -> None:
    """None of them runs during a look, and so none ends in the middle of it; also if several look."""
    assert printed(LOOKS) == (0, "True True True\n", "")


def test_a_thread_is_found_among_many() -> None:
    """Also the oldest of more than a hundred, which is what faulthandler shows."""
    assert printed(MANY) == (0, "True\n", "")
