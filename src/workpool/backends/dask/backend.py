"""What the Dask backend can keep, and the engine that takes a pool's orders to Dask's workers.

Each order is one task of Dask's. What comes back is awaited in the loop that Dask's
client has anyway, so a pool here costs one thread, its clerk, whatever the number of
workers.

Two ways to use a cluster. On a shared one (``address=``, ``client=``) Dask puts an order
where it likes, and nothing there is ended by us: other people's tasks run beside ours.
On one of our own (no address, or ``exclusive=True``) each slot has a Dask worker to
itself; then what runs there can be ended with it, and time limits can be kept.
"""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any

import attrs

from workpool._compat import Lock
from workpool.backends.base import Capabilities
from workpool.backends.dask.channel import DaskChannel, attach, detach
from workpool.backends.engine import orders
from workpool.backends.engine.clerk import Clerk, Flight
from workpool.backends.engine.slots import Slot
from workpool.backends.process.cpus import usable_cpus
from workpool.errors import Unsupported, WorkerStartFailed
from workpool.ipc import pickling
from workpool.naming import function_name
from workpool.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from workpool.scheduling.scheduler import Scheduler
    from workpool.scheduling.terms import Terms
    from workpool.situation import Setup

__all__ = ["DaskBackend"]

_LOOK_AGAIN = 0.05  # seconds between two looks at whether a worker has come back
_GOODBYE = (
    5.0  # seconds that the end of workers may take to be ordered, before the client is closed
)
_PATIENCE = 1.0  # seconds that a message may wait for the name of what runs


class DaskBackend:
    """Makes workers that are slots of a Dask cluster."""

    capabilities = Capabilities(
        name="dask",
        scope="engine",
        time_limit=True,
        ends_tasks=True,
        resources=True,
        recycles=False,
        settings=frozenset({"address", "client", "exclusive"}),
    )

    @classmethod
    def capabilities_with(cls, settings: Any) -> Capabilities:
        """Tell what can be kept on such a cluster."""
        if _is_ours(settings):
            return cls.capabilities
        return attrs.evolve(
            cls.capabilities,
            time_limit=False,
            ends_tasks=False,
            no_time_limit="the cluster's workers may run other people's tasks beside ours, and are not ended. "
            "On a cluster of your own say exclusive=True",
        )

    def __init__(self, *, pool: str, setup: Setup, settings: Any) -> None:
        self.pool = pool
        self.settings = settings
        self.capabilities = self.capabilities_with(settings)
        self.pack: Callable[[Task[Any]], None] | None = orders.pack
        self.engine = DaskEngine(pool, setup, settings)
        if self.engine.ends_tasks:
            # Two slots on one Dask worker would end each other's tasks.
            self.capabilities = attrs.evolve(self.capabilities, most_workers=self.engine.slots)
        self.default_workers = self.engine.slots
        self._clerk = Clerk(pool, self.engine)

    def make_worker(self, scheduler: Scheduler, index: int) -> Slot:
        """Make the slot of that index."""
        return Slot(self._clerk, scheduler, index)

    def host(self, make: Callable[[], Any]) -> DaskChannel:
        """Keep what the pool shares in Dask's scheduler; gives the way there."""
        return self.engine.host(make)

    def describe(self) -> str:
        """Say which cluster it is."""
        return f"address={self.engine.address!r}"

    def close(self) -> None:
        """Leave the cluster, and end it if it is ours."""
        self.engine.close()
        self._clerk.close()


def _is_ours(settings: Any) -> bool:
    if settings.exclusive is not None:
        return bool(settings.exclusive)
    return settings.address is None and settings.client is None


class DaskEngine:
    """Takes orders to the workers of a Dask cluster."""

    most_calls: int | None = None
    writes_off = False

    def __init__(self, pool: str, setup: Setup, settings: Any) -> None:
        distributed = _import()
        self._pool = pool
        self._token = uuid.uuid4().hex
        self._setup = pickling.dumps(setup) if setup.does_something else None
        self.ends_tasks = _is_ours(settings)
        self._timeout = settings.start_timeout or 60.0
        self._cluster: Any = None
        self._kills: list[Future[Any]] = []  # under way
        self._hosting = Lock()  # guards _hosted
        self._hosted = False
        self._own_client = settings.client is None
        if settings.client is not None:
            self._client = settings.client
            if self._client.asynchronous:
                message = "client= is an asynchronous Client, which belongs to its loop. Pass address= instead."
                raise Unsupported(message)
        else:
            address = settings.address
            if address is None:
                from workpool.backends.dask.local import LocalCluster

                self._cluster = LocalCluster(settings.max_workers or usable_cpus())
                address = self._cluster.address
            try:
                self._client = distributed.Client(
                    address, set_as_default=False, name=f"workpool-{pool}", timeout=self._timeout
                )
            except BaseException:
                if self._cluster is not None:
                    self._cluster.close()
                raise
        self.address: str = self._client.scheduler.address
        try:
            self._look_around()
        except BaseException:
            self.close()
            raise

    def _look_around(self) -> None:
        """See which workers there are, and have the guard in place."""
        from workpool.backends.dask.far import Guard

        self._client.register_plugin(Guard())
        if self.ends_tasks:
            # Those that the last pool has ended take seconds to come back, and would not be seen.
            asyncio.run_coroutine_threadsafe(self._await_the_killed(), self._loop).result()
        workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        self.slots = sum(worker["nthreads"] for worker in workers.values()) or usable_cpus()
        # Nannies keep their address when the worker that they mind is replaced.
        self._nannies: list[str] = sorted(
            worker["nanny"] for worker in workers.values() if worker["nanny"]
        )
        if self.ends_tasks and (
            any(worker["nthreads"] != 1 for worker in workers.values())
            or len(self._nannies) != len(workers)
            or not workers
        ):
            message = (
                "exclusive=True needs Dask workers that can be ended one task at a time: each with one thread and a "
                "nanny (dask worker --nthreads 1). Or leave exclusive=True away."
            )
            raise Unsupported(message)

    # ------------------------------------------------------------- what the clerk asks for

    def begin(self, slot: Slot) -> None:
        """Have a worker for the slot: any, or on a cluster of ours the one of its index."""
        slot.far = far = object()
        if not self.ends_tasks:
            slot.ready()
            return
        self._spawn(self._find_worker(slot, far))

    def send(self, slot: Slot, flight: Flight, order: orders.Order) -> None:
        """Submit an order to Dask."""
        from workpool.backends.dask.far import MARK, run_order

        terms, name = _terms(flight.unit)
        pinned: dict[str, Any] = {}
        if self.ends_tasks:
            pinned = {"workers": [slot.far], "allow_other_workers": False}
        flight.ticket = future = self._client.submit(
            run_order,
            self._token,
            self._pool,
            self._setup,
            order,
            key=f"{name}{MARK}{self._token}-{flight.number}",
            pure=False,
            retries=0,
            priority=-terms.priority,
            resources=dict(terms.resources) if terms.resources else None,
            **pinned,
        )
        self._spawn(self._follow(slot, slot.far, flight, future))

    def ask_to_end(self, slot: Slot, flight: Flight) -> None:
        """Tell the worker that runs the order."""
        del slot
        from workpool.backends.dask.far import ask_to_end

        self._spawn(self._tell(ask_to_end, flight))

    def end(self, slot: Slot) -> None:
        """Have the nanny kill the worker, and start another; or just forget the order."""
        flight = slot.flight
        if self.ends_tasks and isinstance(slot.far, str):
            self._kills.append(self._spawn(self._kill_worker(slot.far, self._nanny_of(slot))))
        elif flight is not None and flight.ticket is not None:
            self._client.cancel([flight.ticket], force=True, asynchronous=True)

    def leave(self, slot: Slot) -> None:
        """Nothing: a life ends with the pool."""

    def rests(self, slot: Slot) -> bool:
        """Nothing: Dask holds what a task asks for as long as it runs."""
        del slot
        return False

    def offset(self, slot: Slot, flight: Flight) -> int:
        """Ask the workers which item runs."""
        del slot
        from workpool.backends.dask.far import offset

        with suppress(Exception):
            asked = asyncio.run_coroutine_threadsafe(self._tell(offset, flight), self._loop)
            offset_now: int = max(asked.result(_PATIENCE))
            return offset_now
        return 0

    def stack(self, slot: Slot, flight: Flight, until: float) -> str:
        """Ask the workers where the order stands."""
        del slot
        from workpool.backends.dask.far import stack

        with suppress(Exception):
            asked = asyncio.run_coroutine_threadsafe(self._tell(stack, flight), self._loop)
            return "".join(asked.result(max(0.0, until - monotonic())))
        return "(no answer: the worker is busy in C code, or has ended)\n"

    def host(self, make: Callable[[], Any]) -> DaskChannel:
        """Have the guard keep a place for this pool, once."""
        from workpool.backends.dask.far import host

        with self._hosting:
            if not self._hosted:
                self._client.run_on_scheduler(host, self._token, self._client.id, make)
                attach(self._token, self._client)
                self._hosted = True
        return DaskChannel(self._token)

    def close(self) -> None:
        """End the pool's lives over there, the client and the cluster, as far as they are ours."""
        from workpool.backends.dask.far import forget, leave

        wait(self._kills, _GOODBYE)
        if self._hosted:
            detach(self._token)
            with suppress(Exception):
                self._client.run_on_scheduler(forget, self._token)
        if self._setup is not None:
            with suppress(Exception):
                self._client.run(leave, self._token, on_error="ignore")
        if self._own_client:
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    # ---------------------------------------------------------------- in the client's loop

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = self._client.loop.asyncio_loop
        return loop

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _await_the_killed(self) -> None:
        await self._client.scheduler.workpool_all_back(seconds=self._timeout)

    async def _follow(self, slot: Slot, far: Any, flight: Flight, future: Any) -> None:
        """Wait for an order's end, and report it."""
        distributed = _import()
        report: Callable[[], None]
        try:
            outcome = await self._client.gather(future, asynchronous=True)
        except distributed.KilledWorker as error:
            where = getattr(error.last_worker, "address", "an unknown address")
            report = partial(slot.died, far, f"whatever ended the Dask worker at {where}")
        except (distributed.client.FutureCancelledError, asyncio.CancelledError) as error:
            report = partial(slot.died, far, f"a Dask task that was cancelled ({error})")
        except BaseException as error:
            refusal = WorkerStartFailed(
                f"Dask could not run an order of {self._pool}: {type(error).__name__}: {error}. Its workers need "
                "workpool, in this version, and Dask in the client's."
            )
            refusal.__cause__ = error
            report = partial(slot.refused, flight, refusal)
        else:
            report = partial(slot.landed, flight, outcome)
        slot.post(report)

    def _nanny_of(self, slot: Slot) -> str:
        return self._nannies[slot.index % len(self._nannies)]

    async def _find_worker(self, slot: Slot, far: Any) -> None:
        """Wait until the slot's nanny has a worker; Dask tells nobody when, so this looks again."""
        nanny = self._nanny_of(slot)
        until = asyncio.get_running_loop().time() + self._timeout
        try:
            while asyncio.get_running_loop().time() < until:
                workers: dict[str, Any] = (await self._client.scheduler.identity(n_workers=-1))[
                    "workers"
                ]
                for address, worker in workers.items():
                    if worker["nanny"] == nanny and worker["status"] == "running":
                        slot.post(partial(self._found, slot, far, address))
                        return
                await asyncio.sleep(_LOOK_AGAIN)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            slot.post(lambda: slot.died(far, why))
            return
        slot.post(
            lambda: slot.died(far, f"nothing, but its nanny at {nanny} has no worker that runs")
        )

    def _found(self, slot: Slot, far: Any, address: str) -> None:
        if slot.far is far:
            slot.far = address
            slot.ready()

    async def _kill_worker(self, address: str, nanny: str) -> None:
        """Have the worker's nanny kill it, as nothing in the worker could refuse; it starts another."""
        from workpool.backends.dask.far import kill_worker

        with suppress(Exception):  # it is gone, or going
            killed: dict[str, Any] = await self._client.run(
                kill_worker,
                address,
                workers=[address],
                nanny=True,
                on_error="ignore",
                asynchronous=True,
            )
            if any(each is True for each in killed.values()):
                await self._client.scheduler.workpool_killed(nanny=nanny)

    async def _tell(self, what: Callable[..., Any], flight: Flight) -> list[Any]:
        """Call a function in every worker's loop; one of them runs the order."""
        answers: dict[str, Any] = await self._client.run(
            what, self._token, flight.number, on_error="ignore", asynchronous=True
        )
        return [answer for answer in answers.values() if isinstance(answer, (int, str))]


def _terms(unit: Any) -> tuple[Terms, str]:
    """Give a unit's terms, and the name that Dask's dashboard shows."""
    if unit.__class__ is Task:
        return unit._terms, unit._name
    return unit.job.terms, unit.job.terms.name or function_name(unit.job.fn)


def _import() -> Any:
    try:
        return import_module("distributed")
    except ImportError as error:
        message = 'backend="dask" needs the package distributed: pip install "workpool[dask]".'
        raise Unsupported(message) from error
