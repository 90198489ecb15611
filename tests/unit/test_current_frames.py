"""Looking where threads stand, while the collector would run finalizers that start threads."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Generator
from operator import call

import pytest

from tests.support.gates import DEADLINE
from tests.support.queues import until
from workpool import _compat
from workpool._compat import frame_of, other_interpreters_run, uncollected

# On Python 3.11.7, with sys._current_frames() itself, this stands still within a second.
LOOKS = """
import _thread, gc, os, threading, time
from workpool._compat import frame_of
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
    assert frame_of(thread.ident)
    StartsAThread()
    looked_at(thread.ident)
    StartsAThread()
    send_elsewhere(thread.ident, int)
print(gc.isenabled(), flush=True)
os._exit(0)
"""


@pytest.fixture
def collecting(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Have the collector be on before and after, and be minded on each Python."""
    monkeypatch.setattr(_compat, "_COLLECTS_MIDWAY", True)
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
        assert uncollected(()) == []
        assert uncollected(iter((1, 2))) == [1, 2]
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.usefixtures("collecting")
def test_the_collector_is_off_meanwhile() -> None:
    """And on again behind it."""
    assert uncollected(map(call, (gc.isenabled,))) == [False]
    assert gc.isenabled()
    assert uncollected(()) == []


def test_what_this_thread_holds_is_let_go() -> None:
    """Who looks at itself keeps nothing either."""

    class Large:
        pass

    def work() -> weakref.ref[Large]:
        large = Large()
        assert getattr(frame_of(threading.get_ident()), "f_code", None) is work.__code__
        return weakref.ref(large)

    gc.disable()
    try:
        assert work()() is None
    finally:
        gc.enable()


def test_what_other_threads_hold_is_let_go() -> None:
    """Nobody who looks at a thread keeps what the calls of all threads have, until the next collection."""
    until(
        lambda: not other_interpreters_run()
    )  # given up by tests before: their frames must not be touched

    class Large:
        pass

    asleep = threading.Lock()

    def work(held: list[Large]) -> None:
        _mine = held.pop()
        asleep.acquire()

    held = [Large()]
    seen = weakref.ref(held[0])
    asleep.acquire()
    thread = threading.Thread(target=work, args=(held,), daemon=True)
    gc.disable()
    try:
        thread.start()
        until(lambda: not held)
        assert thread.ident is not None
        assert frame_of(thread.ident) is not None
        assert frame_of(0) is None
        asleep.release()
        thread.join(DEADLINE)
        assert seen() is None
    finally:
        gc.enable()
