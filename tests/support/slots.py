"""Pools on the loopback engine, and what a test does to their slots and to the clerk that feeds them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from tests.support.gates import DEADLINE
from tests.support.loopback import FarEnd, LoopbackEngine, register
from workpool import Pool
from workpool.backends.engine.slots import Slot

__all__ = ["clerk_held_up", "engine_of", "make", "posted", "slot_of", "strike"]

register()


def make(max_workers: int, **settings: Any) -> Pool:
    kind: Any = "loopback"
    return Pool(max_workers, backend=kind, **settings)


def engine_of(pool: Pool) -> LoopbackEngine:
    backend: Any = pool._backend
    engine = backend.engine
    assert isinstance(engine, LoopbackEngine)
    return engine


def slot_of(pool: Pool, index: int = 0) -> Slot:
    slot = pool._scheduler.workers[index]
    assert isinstance(slot, Slot)
    return slot


def strike(pool: Pool) -> None:
    """Have the far end of the first slot be dead, as an engine tells it."""
    slot = slot_of(pool)
    far = slot.far
    assert isinstance(far, FarEnd)
    far.orders.put(None)
    slot.post(lambda: slot.died(far, "signal 9", -9))


@contextmanager
def clerk_held_up(slot: Slot) -> Generator[None]:
    """Keep the clerk from all events of the block, which it goes through afterwards, in their order."""
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go.wait(DEADLINE)

    slot.post(hold)
    assert held.wait(DEADLINE)
    try:
        yield
    finally:
        go.set()


def posted(slot: Slot, kind: str, monkeypatch: Any) -> threading.Event:
    """Give an event that is set when somebody has posted such a call for the slot."""
    seen, post = threading.Event(), slot.post

    def post_and_tell(call: Callable[[], object]) -> None:
        post(call)
        if getattr(getattr(call, "func", None), "__name__", "") == kind:
            seen.set()

    monkeypatch.setattr(slot, "post", post_and_tell)
    return seen
