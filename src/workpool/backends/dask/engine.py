"""The engine that takes a pool's orders to Dask's workers.

Each order is one task of Dask's. What comes back is awaited in the loop that Dask's
client has anyway, so a pool here costs one thread, its clerk, whatever the number of
workers.
"""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import wait
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import attrs

from workpool._compat import Lock
from workpool.backends.dask import lives
from workpool.backends.dask.channel import DaskChannel, attach, detach
from workpool.backends.dask.connection import Connection, encodable, import_distributed
from workpool.backends.dask.farewell import say_farewell
from workpool.backends.dask.lookout import Lookout
from workpool.backends.engine import reasons
from workpool.backends.engine.orders import numbers
from workpool.backends.engine.setups import dump_setup
from workpool.errors import SharedStateLost, Unsupported, WorkerStartFailed
from workpool.naming import function_name
from workpool.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Future

    from workpool.backends.engine.clerk import Flight
    from workpool.backends.engine.orders import Order
    from workpool.backends.engine.slots import Slot
    from workpool.scheduling.terms import Terms
    from workpool.situation import Setup

__all__ = ["DaskEngine"]

_GOODBYE = (
    5.0  # seconds that the end of workers may take to be ordered, before the client is closed
)
_LOOK = 1.0  # seconds between two looks at whether the program has closed its client
_PATIENCE = 1.0  # seconds that a message may wait for the name of what runs
_MOST_PRIORITY = 1 << 62  # Dask sends numbers of 64 bits
_SIZED: frozenset[type[Any]] = frozenset({bytes, str, tuple})


@attrs.frozen(eq=False)
class Far:
    """A Dask worker that a slot has to itself."""

    address: str
    nanny: str


class DaskEngine:
    """Takes orders to the workers of a Dask cluster."""

    most_calls: int | None = None
    writes_off = False

    def __init__(self, pool: str, setup: Setup, settings: Any) -> None:
        self._distributed = import_distributed()
        from workpool.backends.dask.guard import enter

        self._pool = pool
        self._token = uuid.uuid4().hex
        self._setup = dump_setup(setup, pool)
        self._timeout: float | None = settings.start_timeout
        self._end_timeout: float | None = settings.end_timeout
        self._kills: set[Future[Any]] = set()  # under way
        self._setups: set[Future[Any]] = set()  # the same
        self._hosting = Lock()  # guards _places and _hosted
        self._places: list[str] = []  # the tokens of what is shared; all but the last are lost
        self._hosted: Any = None  # over which connection the last was seen to be there
        self._connection = Connection(pool, settings)
        self._client = self._connection.client
        try:
            self._client.run_on_scheduler(enter, self._token, self._client.id)
        except BaseException:
            self._connection.close()
            raise
        self.ends_tasks = self._connection.ours
        self.address = self._connection.address
        self.slots = self._connection.slots
        self._lookout = Lookout(
            self._connection, pool, self._token, self._timeout if self._setup else None
        )

    # ------------------------------------------------------------- what the clerk asks for

    def begin(self, slot: Slot) -> None:
        """Have a worker for the slot: any, or on a cluster of ours the one of its index."""
        slot.far = far = object()
        if self.ends_tasks:
            self._connection.spawn(self._find_worker(slot, far))
            self._watch(slot, far)
        else:
            slot.ready()

    def send(self, slot: Slot, flight: Flight, order: Order) -> None:
        """Submit an order to Dask."""
        from workpool.backends.dask.guard import MARK

        terms, name = _terms(flight.unit)
        pinned: dict[str, Any] = {}
        if self.ends_tasks:
            common = self._connection.common
            if any(amount > common.get(what, 0) for what, amount in terms.resources.items()):
                refusal = Unsupported(
                    f"resources={dict(terms.resources)} cannot be kept on a Dask cluster that the pool has to itself: "
                    f"not all of its workers have them (they have {common} in common), and a task may come to any. "
                    "Say exclusive=False, or start each worker with them (dask worker --resources)."
                )
                slot.post(partial(slot.refused, flight, refusal))
                return
            pinned = {"workers": [slot.far.address], "allow_other_workers": False}
        try:
            flight.ticket = future = self._connection.submit(
                lives.run_order,
                self._token,
                self._pool,
                self._setup,
                order,
                key=f"{encodable(name)}{MARK}{self._token}-{flight.number}",
                size=_size(order[6:]) + len(self._setup or b""),
                priority=max(-_MOST_PRIORITY, min(-terms.priority, _MOST_PRIORITY)),
                resources=dict(terms.resources) if terms.resources else None,
                **pinned,
            )
        except Exception as error:
            slot.post(partial(slot.refused, flight, self._refusal(error)))
            return
        self._connection.spawn(self._follow(slot, slot.far, flight, future))

    def ask_to_end(self, slot: Slot, flight: Flight) -> None:
        """Tell the worker that runs the order; or Dask's scheduler, if that still has it."""
        del slot
        self._connection.spawn(self._say_unwanted(flight))

    def end(self, slot: Slot) -> None:
        """Have the nanny kill the worker, and start another; or just forget the order."""
        flight, far = slot.flight, slot.far
        if isinstance(far, Far):
            self._track(self._kills, self._kill(slot, far))
        elif flight is not None and flight.ticket is not None:
            self._connection.spawn(self._connection.forget(flight.ticket))

    def leave(self, slot: Slot) -> None:
        """Let others have the worker; a life there ends with the pool."""
        slot.far = None
        self._connection.let_go(slot.index)

    def rests(self, slot: Slot) -> bool:
        """Nothing: Dask holds what a task asks for as long as it runs."""
        del slot
        return False

    def offset(self, slot: Slot, flight: Flight) -> int:
        """Ask the workers which item runs."""
        del slot
        with suppress(Exception):
            asked = self._connection.spawn(self._tell(lives.offset, flight))
            offset_now: int = max(asked.result(_PATIENCE))
            return offset_now
        return 0

    def stack(self, slot: Slot, flight: Flight, until: float) -> str:
        """Ask the workers where the order stands."""
        del slot
        with suppress(Exception):
            asked = self._connection.spawn(self._tell(lives.stack, flight))
            return "".join(asked.result(max(0.0, until - monotonic())))
        return "(no answer: the worker is busy in C code, or has ended)\n"

    # ------------------------------------------------------------- what the pool asks for

    def host(self, make: Callable[[], Any]) -> DaskChannel:
        """Have the guard keep a place for this pool: once, and anew if it was lost with a connection."""
        from workpool.backends.dask.guard import host, keeps

        client = self._client
        with self._hosting:
            connection = client.scheduler_comm
            if connection is None or connection is not self._hosted:
                try:
                    if not (self._places and client.run_on_scheduler(keeps, self._places[-1])):
                        token = uuid.uuid4().hex
                        client.run_on_scheduler(host, token, client.id, make)
                        attach(token, client)
                        self._places.append(token)
                except (OSError, RuntimeError) as error:
                    message = (
                        f"nothing can be shared: the connection of {self._pool} to the Dask scheduler has ended "
                        f"({type(error).__name__}: {error})"
                    )
                    raise SharedStateLost(message) from error
                self._hosted = connection
            return DaskChannel(self._places[-1])

    def close(self, killed: Callable[[], bool]) -> None:
        """End the pool's lives over there, and the connection."""
        from workpool.backends.dask.guard import forget

        # Those that are being set up for nothing now have until their start_timeout, as everywhere.
        while (setups := list(self._setups)) and not self._connection.closed:
            wait(setups, _LOOK)
        wait(list(self._kills), _GOODBYE)
        there = self._client.status == "running"  # else each call would wait for it to be back
        for token in self._places:
            detach(token)
        if there:
            with suppress(Exception):
                self._client.sync(
                    *(say_farewell, self._connection, self._pool, self._token),
                    timeout=self._end_timeout,
                    killed=killed,
                )
            for token in (*self._places, self._token):
                with suppress(Exception):
                    self._client.run_on_scheduler(forget, token)
        self._connection.close()

    def _watch(self, slot: Slot, far: Any) -> None:
        """Look now and then whether the client is still there: what waits in its loop would wait for ever."""
        if slot.far is not far:
            return
        if self._connection.closed:
            slot.died(far, "the end of the client of Dask, which the program has closed")
            return
        with suppress(RuntimeError):  # no thread for it: the program is ending
            slot.scheduler.timers.after(_LOOK, partial(slot.post, partial(self._watch, slot, far)))

    # ---------------------------------------------------------------- in the client's loop

    async def _follow(self, slot: Slot, far: Any, flight: Flight, future: Any) -> None:
        """Wait for an order's end, and report it."""
        from workpool.backends.dask.guard import NOWHERE, UNWANTED

        distributed = self._distributed
        report: Callable[[], None]
        look_no_more: Callable[[], object] = int
        if not self.ends_tasks:
            look_no_more = self._lookout.over(slot, flight, _terms(flight.unit)[0].resources)
        try:
            outcome = await self._client.gather(future, asynchronous=True)
        except distributed.KilledWorker as error:
            where = getattr(error.last_worker, "address", "an unknown address")
            report = partial(slot.died, far, f"whatever ended the Dask worker at {where}")
        except (distributed.client.FutureCancelledError, asyncio.CancelledError) as error:
            reason = getattr(error, "reason", "")
            if reason == UNWANTED:
                report = partial(slot.dropped, flight)
            elif reason == NOWHERE:
                report = partial(slot.came_back, flight, far, "the death of its Dask worker")
            else:
                why = f"a Dask task that was cancelled, or whose result went with its worker ({error})"
                report = partial(slot.died, far, why)
        except BaseException as error:
            report = partial(slot.refused, flight, self._refusal(error))
        else:
            report = partial(slot.landed, flight, outcome)
        look_no_more()
        slot.post(report)

    def _refusal(self, error: BaseException) -> WorkerStartFailed:
        return reasons.could_not_run(
            "Dask", self._pool, error, "workpool, in this version, and Dask in the client's"
        )

    def _track(self, under_way: set[Future[Any]], call: Coroutine[Any, Any, Any]) -> None:
        """Begin something whose end is waited for before the connection is closed."""
        begun = self._connection.spawn(call)
        under_way.add(begun)
        begun.add_done_callback(under_way.discard)

    async def _kill(self, slot: Slot, far: Far) -> None:
        """End a slot's worker; its order, if it has one that has not landed, tells of the death as well."""
        if await self._connection.kill_worker(far.address, far.nanny):
            slot.post(partial(slot.died, far, "an order to end"))

    async def _find_worker(self, slot: Slot, far: Any) -> None:
        """Have a worker for the slot, when there is one."""
        try:
            found = await self._connection.find_worker(slot.index, lambda: slot.far is far)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            slot.post(lambda: slot.died(far, why))
            return
        if found is not None:
            slot.post(partial(self._found, slot, far, Far(*found)))
            return
        slot.post(lambda: slot.died(far, "nothing, but the cluster has no worker that runs"))

    def _found(self, slot: Slot, far: Any, found: Far) -> None:
        if slot.far is not far:
            return
        slot.far = found
        if self._setup is None:
            slot.ready()
        else:
            self._track(self._setups, self._set_up(slot, found, self._setup))

    async def _set_up(self, slot: Slot, far: Far, setup: bytes) -> None:
        """Have a worker that is the slot's alone set itself up, before it is given anything to do."""
        from workpool.backends.dask.guard import MARK

        distributed = self._distributed
        report: Callable[[], None]
        try:
            future = self._connection.submit(
                lives.begin,
                self._token,
                self._pool,
                setup,
                slot.index,
                key=f"begin{MARK}{self._token}-{next(numbers)}",
                size=len(setup),
                workers=[far.address],
                allow_other_workers=False,
            )
            # Not cancelled when it is late: that would leave a part of it behind.
            begun = asyncio.ensure_future(self._client.gather(future, asynchronous=True))
            await asyncio.wait([begun], timeout=self._timeout)
            if not begun.done():
                late = f"its start_timeout of {self._timeout} s"
                slot.post(partial(slot.died, far, late, entering=True))
                await self._connection.kill_worker(far.address, far.nanny)
                await asyncio.wait([begun], timeout=_GOODBYE)
                if begun.done() and not begun.cancelled():
                    begun.exception()  # which is known
                return
            failure = begun.result()
        except distributed.KilledWorker:
            why = f"whatever ended the Dask worker at {far.address}"
            report = partial(slot.died, far, why, entering=True)
        except (distributed.client.FutureCancelledError, asyncio.CancelledError):
            report = partial(slot.died, far, "the death of its Dask worker")
        except BaseException:  # the first order will tell
            report = partial(self._begun, slot, far, None)
        else:
            report = partial(self._begun, slot, far, failure)
        slot.post(report)

    def _begun(self, slot: Slot, far: Far, failure: tuple[int, bytes] | None) -> None:
        if slot.far is not far:
            return
        if failure is None:
            slot.ready()
        else:
            slot.failed(failure[1])

    async def _say_unwanted(self, flight: Flight) -> None:
        # In this order: what the scheduler has not kept from the workers then, it has given to one of those told.
        if not self.ends_tasks:
            with suppress(Exception):  # the connection ends
                await self._client.scheduler.workpool_unwanted(key=flight.ticket.key)
        await self._tell(lives.ask_to_end, flight)

    async def _tell(self, what: Callable[..., Any], flight: Flight) -> list[Any]:
        """Call a function in every worker's loop; one of them runs the order."""
        answers: dict[str, Any] = await self._client.run(
            what, self._token, flight.number, on_error="ignore", asynchronous=True
        )
        return [answer for answer in answers.values() if isinstance(answer, (int, str))]


def _size(data: Any) -> int:
    """Give the bytes of what an order holds, about: of its texts and pickles."""
    if data.__class__ is not tuple:
        return len(data)
    if _SIZED.isdisjoint(map(type, data)):  # as fast as it can be, for many numbers
        return 0
    return sum(_size(part) for part in data if part.__class__ in _SIZED)


def _terms(unit: Any) -> tuple[Terms, str]:
    """Give a unit's terms, and the name that Dask's dashboard shows."""
    if unit.__class__ is Task:
        return unit._terms, unit._name
    return unit.job.terms, unit.job.terms.name or function_name(unit.job.fn)
