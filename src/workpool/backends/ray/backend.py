"""What the Ray backend can keep, and the engine that takes a pool's orders to Ray's actors.

Each slot has an actor to itself, which is the pool's own: it can be ended with what runs
in it, and so time limits are kept on any cluster, beside whatever else runs there.

What comes back is told by a callback in a thread that Ray has anyway, which posts it to
the clerk: a pool here costs one thread, whatever the number of workers.

States of a far end: made (its process starts), entering (its initializer runs), there,
over (it leaves, or is being ended: what becomes of it is nobody's concern any more).
"""

from __future__ import annotations

import re
import threading
import uuid
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.backends.base import Capabilities
from workpool.backends.engine import orders, remote
from workpool.backends.engine.clerk import Clerk, Flight
from workpool.backends.engine.slots import Slot
from workpool.backends.process.cpus import usable_cpus
from workpool.backends.ray.channel import NAMESPACE, RayChannel, forget
from workpool.backends.ray.connection import Connection
from workpool.backends.ray.room import room_for, wanted
from workpool.errors import Unsupported, WorkerStartFailed
from workpool.ipc import pickling
from workpool.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.scheduling.scheduler import Scheduler
    from workpool.situation import Setup

__all__ = ["RayBackend"]

_PATIENCE = 1.0  # seconds that a message may wait for the name of what runs
_ROOM = 60.0  # seconds that the first actors may wait for room and for their processes
_GOODBYE = 10.0  # seconds that worker contexts have to be left in, before their actors are ended


class RayBackend:
    """Makes workers that are actors of a Ray cluster."""

    capabilities = Capabilities(
        name="ray",
        scope="engine",
        time_limit=True,
        ends_tasks=True,
        resources=True,
        settings=frozenset({"address"}),
    )

    def __init__(self, *, pool: str, setup: Setup, settings: Any) -> None:
        self.pool = pool
        self.pack: Callable[[Task[Any]], None] | None = orders.pack
        self.engine = RayEngine(pool, setup, settings)
        self.default_workers = self.engine.slots
        self._clerk = Clerk(pool, self.engine)

    def make_worker(self, scheduler: Scheduler, index: int) -> Slot:
        """Make the slot of that index."""
        return Slot(self._clerk, scheduler, index)

    def host(self, make: Callable[[], Any]) -> RayChannel:
        """Keep what the pool shares in an actor; gives the way there."""
        return self.engine.host(make)

    def describe(self) -> str:
        """Say which Ray it is."""
        return f"address={self.engine.address!r}"

    def close(self) -> None:
        """Let the actors go, and Ray if it is ours."""
        self.engine.close()
        self._clerk.close()


class Far:
    """An actor, and what is known of it."""

    __slots__ = (
        "actor",
        "begun",
        "entering",
        "life",
        "over",
        "resources",
        "then",
        "timer",
        "where",
    )

    def __init__(self, actor: Any, resources: dict[str, float], then: Callable[[], None]) -> None:
        self.actor = actor
        self.resources = resources
        self.then = then  # what is done when it is there
        self.entering = False
        self.begun = False
        self.over = False
        self.timer: Any = None  # strikes when it has not gone on in time
        self.life = ""  # the name of its process in Ray, once it has told it
        self.where = "a process that had not started"


class RayEngine:
    """Takes orders to the actors of a Ray cluster."""

    ends_tasks = True
    writes_off = False

    def __init__(self, pool: str, setup: Setup, settings: Any) -> None:
        self._pool = pool
        self._setup = pickling.dumps(setup) if setup.does_something else None
        self.most_calls: int | None = settings.max_tasks_per_worker
        self._timeout: float | None = settings.start_timeout
        self._name = f"workpool-{uuid.uuid4().hex}"
        self._hosting = threading.Lock()  # guards _host
        self._host: Any = None
        self._fars: set[Far] = set()  # whose actors may be there; the clerk's
        self._leaving: list[Any] = []  # what tells that a context has been left
        self._any_begun = False
        # Once it is closed, any call would have Ray start anew.
        self._closed = False
        self._open = (
            threading.Lock()
        )  # guards _closed, against calls from other threads than the clerk
        self._connection = Connection.join(settings.address, settings.max_workers or usable_cpus())
        try:
            self._ray = self._connection.ray
            self.address = self._connection.address
            self._own = self._connection.local is not None
            cpus, self._share = room_for(self._ray, settings.max_workers, own=self._own)
            self.slots = settings.max_workers or cpus
            from workpool.backends.ray.far import remote_worker

            self._kind = remote_worker()
        except BaseException:
            self._connection.leave()
            raise

    # ------------------------------------------------------------- what the clerk asks for

    def begin(self, slot: Slot) -> None:
        """Make an actor for the slot."""
        try:
            slot.far = self._make(slot, {}, slot.ready)
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
            self._dispatch(slot, far, flight, order)
            return
        if self._own and (lacking := wanted(self._ray, resources)):
            message = (
                f"resources={resources} cannot be kept: the Ray on this machine, which the pool has started, has no "
                f"{lacking}. Start Ray with them (ray start --head --resources=...), and pass address=."
            )
            slot.post(partial(slot.refused, flight, Unsupported(message)))
            return
        try:
            fresh = self._make(slot, resources, lambda: self._go(slot, fresh, flight, order))
        except Exception as error:  # Ray has its own rules for amounts
            message = f"resources={resources} cannot be kept, as Ray says: {error}"
            refusal = Unsupported(message)
            refusal.__cause__ = error
            slot.post(partial(slot.refused, flight, refusal))
            return
        self.leave(slot)
        slot.far = fresh
        slot.stop_clock(flight)  # what takes time now is not the task

    def ask_to_end(self, slot: Slot, flight: Flight) -> None:
        """Tell the actor that runs the order."""
        with suppress(Exception):
            slot.far.actor.ask_to_end.remote(flight.number)

    def end(self, slot: Slot) -> None:
        """Kill the actor."""
        far = slot.far
        if isinstance(far, Far):
            far.over = True
            self._kill(far)

    def leave(self, slot: Slot) -> None:
        """Have the context left, if there is one, and the actor ended then."""
        far, slot.far = slot.far, None
        if not isinstance(far, Far) or far.over:
            return
        far.over = True
        if self._setup is None or not far.begun:
            self._kill(far)
            return
        said = far.actor.leave.remote()
        self._leaving.append(said)
        self._await(slot, said, lambda _: self._kill(far))

    def rests(self, slot: Slot) -> bool:
        """Tell that the idle slot holds resources which others may wait for."""
        return isinstance(slot.far, Far) and bool(slot.far.resources)

    def offset(self, slot: Slot, flight: Flight) -> int:
        """Ask the actor which item runs."""
        with suppress(Exception):
            return int(self._ask(slot.far, "offset", flight).result(_PATIENCE))
        return 0

    def stack(self, slot: Slot, flight: Flight, until: float) -> str:
        """Ask the actor where the order stands."""
        with suppress(Exception):
            asked = self._ask(slot.far, "stack", flight)
            return str(asked.result(max(0.0, until - monotonic())))
        return "(no answer: the worker is busy in C code, or has ended)\n"

    def _ask(self, far: Far, what: str, flight: Flight) -> Any:
        """Ask an actor something, from any thread; gives a future."""
        with self._open:
            if self._closed:
                raise RuntimeError
            return getattr(far.actor, what).remote(flight.number).future()

    def host(self, make: Callable[[], Any]) -> RayChannel:
        """Have an actor keep a place for this pool, once."""
        with self._hosting:
            if self._host is None:
                from workpool.backends.ray.far import remote_host

                self._host = remote_host(self._name, NAMESPACE).remote(make)
        return RayChannel(self._name)

    def close(self) -> None:
        """End the actors, and the connection if nobody else uses it."""
        with self._open:
            self._closed = True
        with suppress(Exception):
            if self._leaving:
                self._ray.wait(self._leaving, num_returns=len(self._leaving), timeout=_GOODBYE)
        for far in list(self._fars):
            self._kill(far)
        if self._host is not None:
            forget(self._name)
            with suppress(Exception):
                self._ray.kill(self._host)
        self._connection.leave()

    # ------------------------------------------------------------------------ a far end

    def _make(self, slot: Slot, resources: dict[str, float], then: Callable[[], None]) -> Far:
        """Make an actor; ``then`` is called by the clerk when it has begun."""
        kind = self._kind.options(**self._share.options(resources))
        far = Far(kind.remote(self._pool, slot.index), resources, then)
        self._fars.add(far)
        self._await(slot, far.actor.hello.remote(), partial(self._said_hello, slot, far))
        if not resources:  # those may be long in coming, as everybody knows
            self._expect(slot, far, _ROOM)
        return far

    def _said_hello(self, slot: Slot, far: Far, answer: Any) -> None:
        if (error := answer.exception()) is not None:
            self._over(slot, far, error)
            return
        far.life, pid, machine = answer.result()
        far.where = f"process {pid} on {machine}"
        far.entering = True
        self._expect(slot, far, self._timeout)
        self._await(slot, far.actor.begin.remote(self._setup), partial(self._begun, slot, far))

    def _begun(self, slot: Slot, far: Far, answer: Any) -> None:
        if (error := answer.exception()) is not None:
            self._over(slot, far, error)
            return
        far.entering, far.begun = False, True
        self._any_begun = True
        self._expect_no_more(far)
        # From now on its death is heard of, whether or not something runs.
        stays = far.actor.stay.remote()
        self._await(slot, stays, lambda ended: self._over(slot, far, ended.exception()))
        failure: bytes | None = answer.result()
        if slot.far is not far:
            return
        if failure is None:
            far.then()
        elif slot.flight is not None:
            slot.landed(slot.flight, (remote.FAILED, failure))
        else:
            slot.failed(failure)

    def _go(self, slot: Slot, far: Far, flight: Flight, order: orders.Order) -> None:
        """Dispatch what has waited for its actor."""
        if flight is slot.flight and flight.doomed is None:
            slot.start_clock(flight)
            self._dispatch(slot, far, flight, order)

    def _dispatch(self, slot: Slot, far: Far, flight: Flight, order: orders.Order) -> None:
        flight.ticket = outcome = far.actor.run.remote(order)
        self._await(slot, outcome, partial(self._landed, slot, far, flight))

    def _landed(self, slot: Slot, far: Far, flight: Flight, answer: Any) -> None:
        error = answer.exception()
        if error is None:
            slot.landed(flight, answer.result())
        elif isinstance(error, self._ray.exceptions.RayActorError):
            self._over(slot, far, error)
        else:
            refusal = WorkerStartFailed(
                f"Ray could not run an order of {self._pool}: {type(error).__name__}: {error}. Its workers need "
                "workpool, in this version."
            )
            refusal.__cause__ = error
            slot.refused(flight, refusal)

    def _over(self, slot: Slot, far: Far, error: BaseException) -> None:
        """Take in that an actor is dead, or out of reach, which comes to the same."""
        self._expect_no_more(far)
        self._kill(far)
        if self._host is not None and far.life:
            with suppress(Exception):
                self._host.ended.remote(far.life)
        far.life = ""
        slot.died(far, f"the end of {far.where} ({_why(error)})", entering=far.entering)

    def _expect(self, slot: Slot, far: Far, limit: float | None) -> None:
        """Expect an actor to go on within so many seconds."""
        self._expect_no_more(far)
        if limit is None:
            return
        with suppress(RuntimeError):  # no thread for it: the program is ending
            late = partial(slot.post, partial(self._late, slot, far, entering=far.entering))
            far.timer = slot.scheduler.timers.after(limit, late)

    def _expect_no_more(self, far: Far) -> None:
        timer, far.timer = far.timer, None
        if timer is not None:
            timer.cancel()

    def _late(self, slot: Slot, far: Far, *, entering: bool) -> None:
        """End an actor that has not gone on; but on a cluster that is full it may wait, if others are there."""
        if self._closed or far.over or far.begun or far.entering is not entering:
            return
        if not entering and self._any_begun:
            return
        far.over = True
        self._kill(far)
        limit = f"its start_timeout of {self._timeout} s"
        why = limit if entering else f"waiting: Ray had not started it after {_ROOM} s"
        slot.died(far, why, entering=entering)

    def _kill(self, far: Far) -> None:
        self._fars.discard(far)
        with suppress(Exception):
            self._ray.kill(far.actor, no_restart=True)

    def _await(self, slot: Slot, answer: Any, then: Callable[[Any], None]) -> None:
        """Have the clerk take in an answer when it is there; told by a thread of Ray's."""
        answer.future().add_done_callback(partial(self._hear, slot, then))

    def _hear(self, slot: Slot, then: Callable[[Any], None], done: Any) -> None:
        slot.post(partial(self._take_in, then, done))

    def _take_in(self, then: Callable[[Any], None], done: Any) -> None:
        if not self._closed:
            then(done)


_BECAUSE = re.compile(r"[Tt]he actor (?:is dead|died) because (.+?)(?:\.\s|\.?$)", re.MULTILINE)
_KIND = re.compile(r"Worker exit type: (\w+)")


def _why(error: BaseException) -> str:
    """Give the heart of what Ray tells of a death, which it does at length."""
    text = str(error).strip()
    because = _BECAUSE.search(text)
    if because is None:
        return text.splitlines()[-1] if text else type(error).__name__
    kind = _KIND.search(text)
    return f"Ray says {kind[1]}" if kind else because[1]
