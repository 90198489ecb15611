"""A pool's connection to a Dask cluster: its client, the workers that there are, and their nannies.

Two ways to use a cluster. On a shared one (``address=``, ``client=``) Dask puts an order
where it likes, and nothing there is ended by us: other people's tasks run beside ours.
On one of our own (no address, or ``exclusive=True``) each slot has a Dask worker to
itself; then what runs there can be ended with it, and time limits can be kept.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from workpool.backends.process.cpus import usable_cpus
from workpool.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

    from workpool.backends.dask.local import LocalCluster

__all__ = ["Connection", "import_distributed", "is_ours"]

_LOOK_AGAIN = 0.05  # seconds between two looks at whether a worker has come back


def is_ours(settings: Any) -> bool:
    """Tell whether a pool with these settings has its cluster to itself."""
    if settings.exclusive is not None:
        return bool(settings.exclusive)
    return settings.address is None and settings.client is None


class Connection:
    """What a pool has of a cluster."""

    def __init__(self, pool: str, settings: Any) -> None:
        self.ours = is_ours(settings)
        self._timeout = settings.start_timeout or 60.0
        self._cluster: LocalCluster | None = None
        self._own_client = settings.client is None
        self.client = (
            settings.client if settings.client is not None else self._connect(pool, settings)
        )
        if self.client.asynchronous:
            message = "client= is an asynchronous Client, which belongs to its loop. Pass address= instead."
            raise Unsupported(message)
        self.address: str = self.client.scheduler.address
        try:
            self._look_around()
        except BaseException:
            self.close()
            raise

    def _connect(self, pool: str, settings: Any) -> Any:
        address = settings.address
        if address is None:
            from workpool.backends.dask.local import LocalCluster

            self._cluster = LocalCluster(settings.max_workers or usable_cpus())
            address = self._cluster.address
        try:
            return import_distributed().Client(
                address, set_as_default=False, name=f"workpool-{pool}", timeout=self._timeout
            )
        except BaseException:
            if self._cluster is not None:
                self._cluster.close()
            raise

    def _look_around(self) -> None:
        """See which workers there are, and have the guard in place."""
        from workpool.backends.dask.far import Guard

        self.client.register_plugin(Guard())
        if self.ours:
            # Those that the last pool has ended take seconds to come back, and would not be seen.
            self.spawn(self.client.scheduler.workpool_all_back(seconds=self._timeout)).result()
        # Not by the client's scheduler_info: that gives what the client has last been told, and it asks
        # by itself, too, every two seconds, and without the workers.
        there = self.spawn(self.client.scheduler.identity(n_workers=-1)).result()
        workers: dict[str, Any] = there["workers"]
        self.slots = sum(worker["nthreads"] for worker in workers.values()) or usable_cpus()
        # Nannies keep their address when the worker that they mind is replaced.
        self._nannies: list[str] = sorted(
            worker["nanny"] for worker in workers.values() if worker["nanny"]
        )
        if self.ours and (
            any(worker["nthreads"] != 1 for worker in workers.values())
            or len(self._nannies) != len(workers)
            or not workers
        ):
            message = (
                "exclusive=True needs Dask workers that can be ended one task at a time: each with one thread and a "
                "nanny (dask worker --nthreads 1). Or leave exclusive=True away."
            )
            raise Unsupported(message)

    def close(self) -> None:
        """End the client and the cluster, as far as they are ours."""
        if self._own_client:
            self.client.close()
        if self._cluster is not None:
            self._cluster.close()

    # ---------------------------------------------------------------- in the client's loop

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that Dask's client has in a thread of its own."""
        loop: asyncio.AbstractEventLoop = self.client.loop.asyncio_loop
        return loop

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Have a coroutine run in that loop; from any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    # ----------------------------------------------------------- on a cluster of our own

    def nanny_of(self, index: int) -> str:
        """Give the nanny that minds the worker of the slot with that index."""
        return self._nannies[index % len(self._nannies)]

    async def find_worker(self, nanny: str) -> str | None:
        """Wait until a nanny has a worker, and give its address; Dask tells nobody when, so this looks again."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._timeout
        while loop.time() < until:
            there = await self.client.scheduler.identity(n_workers=-1)
            for address, worker in there["workers"].items():
                if worker["nanny"] == nanny and worker["status"] == "running":
                    found: str = address
                    return found
            await asyncio.sleep(_LOOK_AGAIN)
        return None

    async def kill_worker(self, address: str, nanny: str) -> None:
        """Have the worker's nanny kill it, as nothing in the worker could refuse; it starts another."""
        from workpool.backends.dask.far import kill_worker

        with suppress(Exception):  # it is gone, or going
            killed: dict[str, Any] = await self.client.run(
                kill_worker,
                address,
                workers=[address],
                nanny=True,
                on_error="ignore",
                asynchronous=True,
            )
            if any(each is True for each in killed.values()):
                await self.client.scheduler.workpool_killed(nanny=nanny)


def import_distributed() -> Any:
    """Load Dask, or say what is missing."""
    try:
        return import_module("distributed")
    except ImportError as error:
        message = 'backend="dask" needs the package distributed: pip install "workpool[dask]".'
        raise Unsupported(message) from error
