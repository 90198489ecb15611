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
from workpool.ipc.stackdump import alone, is_alone, look_at_others

end = threading.Event()
threads = [threading.Thread(target=end.wait) for _ in range(150)]
for thread in threads:
    thread.start()
found = {ident for _, ident in alone(look_at_others)}
print(all(thread.ident in found for thread in threads), is_alone())
end.set()
"""

WAITS = """
import signal, threading
from workpool.ipc import stackdump

asked = threading.Event()
go = threading.Event()

def look():
    stackdump.alone(lambda: (asked.set(), go.wait()))

looks = threading.Thread(target=look)
looks.start()
asked.wait()
print(stackdump.alone(int, wait=False), stackdump.is_alone())
go.set()
looks.join()
print(stackdump.alone(int, wait=False))

def interrupt():
    signal.raise_signal(signal.SIGINT)
    print("it is heard when the look is over")
    return [([], 1)]

stackdump.look_at_others = interrupt
try:
    stackdump.places_of_others()
except KeyboardInterrupt:
    print(stackdump.alone(int, wait=False))
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
    assert printed(MANY) == (0, "True False\n", "")


def test_one_looks_at_a_time_and_who_holds_locks_does_not_wait_for_it() -> None:
    """Nor does a Ctrl-C in the middle of a look keep the next one from coming."""
    assert printed(WAITS) == (0, "None False\n0\nit is heard when the look is over\n0\n", "")
