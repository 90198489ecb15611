"""Tasks that keep what ``current()`` gives, and tell of it when they are over."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic

import workpool
from tests.support.gates import DEADLINE, say, stop
from tests.support.tasks import situation, tell_if_cancelled
from workpool._compat import frame_of

__all__ = [
    "hand_out_and_wait",
    "keep_and_tell",
    "keep_situation",
    "keep_until_cancelled",
    "kept_in_context",
    "outlive",
    "say_what_is_kept",
    "tell_of_the_kept",
    "watched",
]

# What workers do around a call.
_STEPS = {"run_task", "run_chunk", "_run_one"}

_kept: list[workpool.Current] = []


def keep_situation(_: object = None) -> None:
    """Keep what current() gives, beyond the call."""
    _kept[:] = [situation()]


def tell_of_the_kept(seconds: float, gate: str, _: object = None) -> None:
    """Run until this call is cancelled, and say whether the one before, long over, is told so."""
    assert tell_if_cancelled(seconds, gate)
    say(gate, f"kept {_kept[0].cancelled}")


def keep_and_tell(seconds: float, gate: str, n: int) -> None:
    """As the first item, keep what current() gives; as another one, tell of that."""
    if n:
        tell_of_the_kept(seconds, gate)
    else:
        keep_situation()


def hand_out_and_wait(
    pool: workpool.Pool, gate: str, handed: list[workpool.Current], tasks: list[workpool.Task[None]]
) -> None:
    """Give others what current() gives, and wait for another task of the same pool."""
    handed.append(situation())
    tasks.append(pool.submit(stop, gate))
    tasks[0].result()


def keep_until_cancelled(seconds: float, gate: str, _: object = None) -> None:
    """Keep what current() gives, do not look at it, and run until the call is cancelled."""
    keep_situation()
    assert tell_if_cancelled(seconds, gate)


def say_what_is_kept(gate: str) -> None:
    """Say whether the call that kept what current() gave was cancelled."""
    say(gate, f"kept {_kept[0].cancelled}")


def outlive(gate: str, _: object = None) -> None:
    """Run for long, and have a thread look at what current() gave when the call is over."""
    mine = situation()
    home = threading.get_ident()

    def look() -> None:
        say(gate, "begun")
        while _is_in_call(home) and monotonic() < until:
            nap.wait(0.001)
        say(gate, f"ended {not _is_in_call(home)}, told {mine.cancelled}")

    nap, until = threading.Event(), monotonic() + DEADLINE
    threading.Thread(target=look).start()
    while monotonic() < until:
        nap.wait(0.001)


def _is_in_call(ident: int) -> bool:
    """Tell whether a thread runs a task or an item, the steps around it included."""
    frame = frame_of(ident)
    while frame is not None and frame.f_code.co_name not in _STEPS:
        frame = frame.f_back
    return frame is not None


@contextmanager
def watched(seconds: float, gate: str) -> Generator[None]:
    """Have a thread say when current() tells of an end, around all tasks of a worker, in so many seconds at most."""
    mine = situation()

    def look() -> None:
        nap, until = threading.Event(), monotonic() + seconds
        while not mine.cancelled and monotonic() < until:
            nap.wait(0.001)
        say(gate, f"around {mine.cancelled}")

    threading.Thread(target=look).start()
    yield


@contextmanager
def kept_in_context() -> Generator[None]:
    """Keep what current() gives around all tasks of a worker."""
    keep_situation()
    yield
