"""An engine whose workers are threads of this process: the engines' common part, without an engine.

Orders and outcomes travel as they would to Dask or Ray (they are pickled on the way), a
far end can die and be ended (its thread is then nobody's, and what it brings is dropped),
and what pools share is in a place in an event loop of its own. So the whole contract
suite runs through the clerk, the slots and the place each day.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from typing_extensions import override

from workpool.backends.base import BACKENDS, Capabilities
from workpool.backends.engine import orders
from workpool.backends.engine.backend import EngineBackend
from workpool.backends.engine.clerk import Flight
from workpool.backends.engine.remote import Life, dump_failure
from workpool.backends.engine.setups import dump_setup
from workpool.backends.engine.slots import Slot
from workpool.situation import Setup

__all__ = ["LoopbackBackend", "register"]


def register() -> None:
    """Make it known by its name."""
    BACKENDS["loopback"] = (__name__, "LoopbackBackend")


class FarEnd:
    """One worker: a thread, and the orders it is to run."""

    def __init__(self, engine: LoopbackEngine, slot: Slot) -> None:
        self.orders: SimpleQueue[Any] = SimpleQueue()
        self.life: Life | None = None
        self.given_up = False  # what it runs goes on, and nobody waits for that
        self._engine = engine
        self._slot = slot
        name = f"loopback-{slot.index}"
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        slot, engine = self._slot, self._engine
        try:
            self.life = Life(engine.pool, slot.index, engine.setup)
        except BaseException as error:
            data = dump_failure(error)[1]
            slot.post(partial(slot.failed, data))
            return
        slot.post(lambda: slot.ready() if slot.far is self else None)
        while (sent := self.orders.get()) is not None:
            flight, order = sent
            outcome = pickle.loads(pickle.dumps(self.life.run(pickle.loads(order))))
            slot.post(partial(slot.landed, flight, outcome))
            del sent, flight, order, outcome
        self.life.leave()


class LoopbackEngine:
    """Takes orders to threads."""

    ends_tasks = True
    writes_off = True
    slots = 2
    address = "here"

    def __init__(self, pool: str, setup: Setup, most_calls: int | None) -> None:
        self.pool = pool
        self.setup = dump_setup(setup, pool)
        self.most_calls = most_calls
        self.refuses_to_start = False

    def begin(self, slot: Slot) -> None:
        if self.refuses_to_start:
            slot.far = far = object()
            slot.post(lambda: slot.died(far, "a refusal"))
            return
        slot.far = FarEnd(self, slot)

    def send(self, slot: Slot, flight: Flight, order: orders.Order) -> None:
        slot.far.orders.put((flight, pickle.dumps(order)))

    def ask_to_end(self, slot: Slot, flight: Flight) -> None:
        slot.far.life.ask_to_end(flight.number)

    def end(self, slot: Slot) -> None:
        far = slot.far
        if far is not None:
            far.given_up = True
            far.orders.put(None)
            slot.post(lambda: slot.died(far, "an order to end"))

    def leave(self, slot: Slot) -> None:
        if isinstance(slot.far, FarEnd):
            slot.far.orders.put(None)
            if slot.flight is None and not slot.far.given_up:
                slot.far.thread.join(5.0)

    def rests(self, slot: Slot) -> bool:
        return False

    def offset(self, slot: Slot, flight: Flight) -> int:
        life: Life | None = getattr(slot.far, "life", None)
        return -1 if life is None else life.offset(flight.number)

    def stack(self, slot: Slot, flight: Flight, until: float) -> str:
        life: Life | None = getattr(slot.far, "life", None)
        return "" if life is None else life.stack(flight.number)

    def host(self, make: Callable[[], Any]) -> LoopbackChannel:
        if self.pool not in _loops:
            _loops[self.pool] = Loop(make)
        return LoopbackChannel(self.pool)

    def close(self, killed: Callable[[], bool]) -> None:
        loop = _loops.pop(self.pool, None)
        if loop is not None:
            loop.close()


class Loop:
    """A place, and the event loop it lives in."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.place = make()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="place", daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


_loops: dict[str, Loop] = {}


class LoopbackChannel:
    """The way to a pool's place, by the pool's name."""

    def __init__(self, pool: str) -> None:
        self.pool = pool

    def call(self, number: int, name: str, arguments: bytes) -> bytes:
        home = _loops[self.pool]
        owner = "here", os.getpid(), threading.get_ident()
        made = home.place.call(owner, number, name, arguments)
        called: bytes = asyncio.run_coroutine_threadsafe(made, home.loop).result()
        return called


class LoopbackBackend(EngineBackend):
    """Makes slots whose far ends are threads."""

    capabilities = Capabilities(name="loopback", scope="engine", time_limit=True, ends_tasks=False)

    @override
    def make_engine(self, pool: str, setup: Setup, settings: Any) -> LoopbackEngine:
        return LoopbackEngine(pool, setup, settings.max_tasks_per_worker)
