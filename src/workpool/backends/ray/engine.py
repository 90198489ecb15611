"""The engine that takes a pool's orders to Ray's actors.

Each slot has an actor to itself, which is the pool's own: it can be ended with what runs
in it, and so time limits are kept on any cluster, beside whatever else runs there.

What comes back is told by a callback in a thread that Ray has anyway, which posts it to
the clerk: a pool here costs one thread, whatever the number of workers.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool._compat import Lock
from workpool.backends.engine import reasons
from workpool.backends.engine.setups import dump_setup
from workpool.backends.process.cpus import usable_cpus
from workpool.backends.ray.actors import Actors, Far
from workpool.backends.ray.channel import NAMESPACE, RayChannel, forget
from workpool.backends.ray.connection import Connection
from workpool.backends.ray.room import room_for, wanted
from workpool.errors import Unsupported, WorkerStartFailed
from workpool.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.backends.engine import orders
    from workpool.backends.engine.clerk import Flight
    from workpool.backends.engine.slots import Slot
    from workpool.situation import Setup

__all__ = ["RayEngine"]

_PATIENCE = 1.0  # seconds that a message may wait for the name of what runs


class RayEngine:
    """Takes orders to the actors of a Ray cluster."""

    ends_tasks = True
    writes_off = False

    def __init__(self, pool: str, setup: Setup, settings: Any) -> None:
        self._pool = pool
        self.most_calls: int | None = settings.max_tasks_per_worker
        self._name = f"workpool-{uuid.uuid4().hex}"
        self._hosting = Lock()  # guards _host
        self._host: Any = None
        data = dump_setup(setup, pool)
        self._connection = Connection.join(settings.address, settings.max_workers or usable_cpus())
        try:
            self._ray = self._connection.ray
            self.address = self._connection.address
            self._own = self._connection.local is not None
            cpus, share = room_for(self._ray, settings.max_workers, own=self._own)
            self.slots = settings.max_workers or cpus
            self._actors = Actors(
                self._ray,
                pool,
                data,
                share=share,
                start_timeout=settings.start_timeout,
                end_timeout=settings.end_timeout,
                ended=self._ended,
            )
        except BaseException:
            self._connection.leave()
            raise

    # ------------------------------------------------------------- what the clerk asks for

    def begin(self, slot: Slot) -> None:
        """Make an actor for the slot."""
        try:
            slot.far = made = self._actors.make(slot, {})
            made.then = slot.ready
        except Exception as error:
            slot.far = far = object()
            why = f"{type(error).__name__}: {error}"
            slot.post(lambda: slot.died(far, why))

    def send(self, slot: Slot, flight: Flight, order: orders.Order) -> None:
        """Send an order to the slot's actor; to a new one, if it asks for other resources."""
        unit: Any = flight.unit
        terms = unit._terms if unit.__class__ is Task else unit.job.terms
        resources = dict(terms.resources or {})
        far: Far = slot.far
        if resources == far.resources:
            if far.begun:
                self._dispatch(slot, far, flight, order)
            else:  # what it was made for was dropped
                self._wait_for(slot, far, flight, order)
            return
        if self._own and (lacking := wanted(self._ray, resources)):
            message = (
                f"resources={resources} cannot be kept: the Ray on this machine, which the pool has started, has no "
                f"{lacking}. Start Ray with them (ray start --head --resources=...), and pass address=."
            )
            slot.post(partial(slot.refused, flight, Unsupported(message)))
            return
        try:
            fresh = self._actors.make(slot, resources)
        except Exception as error:  # Ray has its own rules for amounts
            message = f"resources={resources} cannot be kept, as Ray says: {error}"
            refusal = Unsupported(message)
            refusal.__cause__ = error
            slot.post(partial(slot.refused, flight, refusal))
            return
        self.leave(slot)
        slot.far = fresh
        self._wait_for(slot, fresh, flight, order)

    def ask_to_end(self, slot: Slot, flight: Flight) -> None:
        """Tell the actor that runs the order; one that still waits for its actor never goes there."""
        if flight.ticket is None:
            slot.post(partial(slot.dropped, flight))
            return
        with suppress(Exception):
            self._actors.ask(slot.far, "ask_to_end", flight.number)

    def end(self, slot: Slot) -> None:
        """Kill the actor."""
        far = slot.far
        if isinstance(far, Far):
            far.over = True
            self._actors.kill(far)

    def leave(self, slot: Slot) -> None:
        """Have the context left, if there is one, and the actor ended then."""
        far, slot.far = slot.far, None
        if isinstance(far, Far) and not far.over:
            self._actors.let_go(far)

    def rests(self, slot: Slot) -> bool:
        """Tell that the idle slot holds resources which others may wait for."""
        return isinstance(slot.far, Far) and bool(slot.far.resources)

    def offset(self, slot: Slot, flight: Flight) -> int:
        """Ask the actor which item runs."""
        with suppress(Exception):
            asked = self._actors.ask(slot.far, "offset", flight.number)
            return int(asked.result(_PATIENCE))
        return 0

    def stack(self, slot: Slot, flight: Flight, until: float) -> str:
        """Ask the actor where the order stands."""
        with suppress(Exception):
            asked = self._actors.ask(slot.far, "stack", flight.number)
            return str(asked.result(max(0.0, until - monotonic())))
        return "(no answer: the worker is busy in C code, or has ended)\n"

    def host(self, make: Callable[[], Any]) -> RayChannel:
        """Have an actor keep a place for this pool, once."""
        with self._hosting:
            if self._host is None:
                from workpool.backends.ray.far import remote_host

                self._actors.check_connected()
                self._host = remote_host(self._name, NAMESPACE).remote(make)
        return RayChannel(self._name)

    def close(self, killed: Callable[[], bool]) -> None:
        """End the actors, and the connection if nobody else uses it."""
        forget(self._name)
        self._actors.close(killed)
        if self._host is not None:
            with suppress(Exception):
                self._actors.check_connected()
                self._ray.kill(self._host)
        self._connection.leave()

    # ------------------------------------------------------------------------- an order

    def _wait_for(self, slot: Slot, far: Far, flight: Flight, order: orders.Order) -> None:
        """Send an order when its actor has begun."""
        far.then = partial(self._go, slot, far, flight, order)
        flight.stop_clock()  # what takes time now is not the task

    def _go(self, slot: Slot, far: Far, flight: Flight, order: orders.Order) -> None:
        """Dispatch what has waited for its actor."""
        if flight is slot.flight and flight.doomed is None:
            slot.start_clock(flight)
            self._dispatch(slot, far, flight, order)

    def _dispatch(self, slot: Slot, far: Far, flight: Flight, order: orders.Order) -> None:
        try:
            self._actors.check_connected()
            flight.ticket = outcome = far.actor.run.remote(order)
        except Exception as error:
            slot.post(partial(slot.refused, flight, self._refusal(error)))
            return
        self._actors.hear(slot, outcome, partial(self._landed, slot, far, flight))

    def _landed(self, slot: Slot, far: Far, flight: Flight, answer: Any) -> None:
        error = answer.exception()
        if error is None:
            slot.landed(flight, answer.result())
        elif isinstance(error, self._ray.exceptions.RayActorError):
            self._actors.over(far, error)
        else:
            slot.refused(flight, self._refusal(error))

    def _refusal(self, error: BaseException) -> WorkerStartFailed:
        return reasons.could_not_run("Ray", self._pool, error, "workpool, in this version")

    def _ended(self, life: str) -> None:
        """Free what a process owned that has ended."""
        if self._host is not None:
            self._host.ended.remote(life)
