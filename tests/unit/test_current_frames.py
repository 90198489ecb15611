"""Looking where threads stand, while the collector would run finalizers that start threads."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Generator

import pytest

from tests.support.gates import DEADLINE
from workpool._compat import current_frames, uncollected

# On Python 3.11.7, with sys._current_frames() itself, this stands still within a second.
LOOKS = """
import _thread, gc, os, threading, time
from workpool._compat import current_frames
from workpool.ipc.onlookers import looked_at, send_elsewhere

class StartsAThread:
    def __init__(self):
        self.itself = self
    def __del__(self):
        _thread.start_new_thread(int, ())

def rest():
    time.sleep(0.0001)  # house: sleep - a call that is over soon, and makes a new frame

def work():
    while True:
        rest()

threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
gc.set_threshold(2)
for _ in range(1000):
    StartsAThread()
    assert thread.ident in current_frames()
    StartsAThread()
    looked_at(thread.ident)
    StartsAThread()
    send_elsewhere(thread.ident, int)
print(gc.isenabled())
os._exit(0)
"""


@pytest.fixture
def collecting() -> Generator[None]:
    """Have the collector be on before and after."""
    assert gc.isenabled()
    yield
    assert gc.isenabled()


def test_nothing_stands_still() -> None:
    """Python 3.11 would, with a lock in hand that each new thread needs."""
    command = [sys.executable, "-c", LOOKS]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert ran.stdout == "True\n"


@pytest.mark.usefixtures("collecting")
def test_the_collector_is_on_again_whatever_fails() -> None:
    """As when there is no memory to note the frames."""
    with pytest.raises(ZeroDivisionError):
        uncollected(map(divmod, (1,), (0,)))


@pytest.mark.usefixtures("collecting")
def test_the_collector_stays_off_where_it_was() -> None:
    """It is the program that has switched it off."""
    gc.disable()
    try:
        assert current_frames()
        assert not gc.isenabled()
    finally:
        gc.enable()
