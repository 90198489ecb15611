"""A lock that is not given to a thread while that thread still waits for the interpreter.

Python's locks can be had in two ways. Who finds one free takes it and goes on. Who has
to wait gives up the GIL, is given the lock when it is released, and *then* queues
for the GIL, up to five milliseconds, with the lock in hand. Whoever runs meanwhile
needs the lock after a microsecond or two, has to wait in its turn, and is given it
in the same way: from then on every task costs two switches of threads, for as long as
there is work. That is a convoy, and it costs more than all that a pool does.

Here nobody is given the lock; who finds it taken sleeps for a moment and looks again.
The owner of it was interrupted in the middle of a step and needs no more than the GIL,
which the sleeper has just given up. After `_LOOKS` looks the sleeper queues for it
after all, so that it is not passed over for ever.

Without a GIL there is no convoy of this kind: who finds the lock taken stands in line.

A block that each task comes through is written out, which takes half as long as ``with lock:`` ::

    owned = False
    for owned in lock.tries:
        break
    if not owned:
        lock.wait()
    try:
        ...
    finally:
        lock.release()

Either way nobody waits who holds the lock of another pool (``midway.py``).
"""

from __future__ import annotations

import threading
from itertools import repeat
from time import sleep
from typing import Any

from workpool._compat import gil_enabled
from workpool.errors import Midway
from workpool.midway import held_here, known

__all__ = ["make_lock"]

_NAP = 0.0001  # seconds; longer than it takes a thread to be woken, much shorter than its turn
_LOOKS = 50
_MIDWAY = (
    "a pool was called by a finalizer or by a signal's handler, which struck this very thread in the middle of a step "
    "of another pool, and would have to wait while another thread makes a step of the one that was called. Call "
    "submit(), cancel(), close() or kill() there, which are put off, or have another thread do it."
)

# To be built upon, whatever the stubs say.
_Plain: Any = type(threading.RLock())  # house: lock - its __enter__ is made safe here


class _PatientLock(_Plain):  # type: ignore[misc]  # for the same reason
    """A reentrant lock; its block is entered patiently."""

    # Taken by the step of a loop, never by a call: behind a call Python looks for signals, and
    # the exception of a Ctrl-C there would leave the lock locked, with no block to leave.

    _looks = _LOOKS

    tries: Any

    def __init__(self) -> None:
        self.tries = map(self.acquire, repeat(False))  # one for good: a new one each time is slow

    def __enter__(self) -> Any:
        for owned in self.tries:
            if owned:
                return True
            break
        return self.wait()

    def wait(self) -> bool:
        """Take the lock, which has just been found taken; for a block that is written out."""
        if held_here():
            raise Midway(_MIDWAY)
        for _ in range(self._looks):
            sleep(_NAP)
            for owned in self.tries:
                if owned:
                    return True
                break
        for _ in map(self.acquire, (True,)):
            break
        return True


class _FreeLock(_PatientLock):
    """The same where threads need no GIL: nobody naps, and no iterator is shared by threads."""

    _looks = 0

    def __init__(self) -> None:
        pass

    @property
    def tries(self) -> Any:
        return map(self.acquire, (False,))


def make_lock(owner: object) -> Any:
    """Make a reentrant lock that suits this interpreter, and is known as one of ours as long as its owner lives."""
    return known(_PatientLock() if gil_enabled() else _FreeLock(), owner)
