"""A pool's connection to a Dask cluster: its client, the workers that there are, and their nannies.

Two ways to use a cluster. On a shared one (``address=``, ``client=``) Dask puts an order
where it likes, and nothing there is ended by us: other people's tasks run beside ours.
On one of our own (no address, or ``exclusive=True``) each slot has a Dask worker to
itself; then what runs there can be ended with it, and time limits can be kept.
"""

from __future__ import annotations

import asyncio
import warnings
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from workpool._compat import Lock
from workpool.backends.process.cpus import usable_cpus
from workpool.errors import Unsupported, WorkerStartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from workpool.backends.dask.local import LocalCluster

__all__ = ["Connection", "encodable", "import_distributed", "is_ours"]

# Seconds between two looks at whether there is a worker; the first few are for one that is on its way.
_LOOK_AGAIN, _MOST = 0.05, 1.0
_LARGE = 1 << 20  # bytes from which Dask may have advice on what is sent

_quiet = Lock()  # guards this program's filters of warnings, among pools


def is_ours(settings: Any) -> bool:
    """Tell whether a pool with these settings has its cluster to itself."""
    if settings.exclusive is not None:
        return bool(settings.exclusive)
    return settings.address is None and settings.client is None


class Connection:
    """What a pool has of a cluster."""

    def __init__(self, pool: str, settings: Any) -> None:
        client = settings.client
        if client is not None and not isinstance(client, import_distributed().Client):
            message = f"client is a distributed.Client, or None; got {client!r}"
            raise TypeError(message)
        self.ours = is_ours(settings)
        self._timeout = settings.start_timeout or 60.0
        self._cluster: LocalCluster | None = None
        # Which nanny's worker a slot has, by the slot's index. Nannies keep their address when the worker
        # that they mind is replaced. Touched in the client's loop alone.
        self._taken: dict[int, str] = {}
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
        kind = import_distributed().Client
        client = kind.__new__(kind)  # at hand also when it fails to begin: it may have a thread
        try:
            client.__init__(
                address,
                set_as_default=False,
                name=encodable(f"workpool-{pool}"),
                timeout=self._timeout,
            )
        except BaseException:
            with suppress(Exception):
                client.close()
                client._loop_runner.stop()
            if self._cluster is not None:
                self._cluster.close()
            raise
        return client

    def _look_around(self) -> None:
        """See which workers there are, and have the guard in place."""
        from workpool.backends.dask.guard import Guard

        self.client.register_plugin(Guard())
        if self.ours:
            # Those that the last pool has ended take seconds to come back, and would not be seen.
            self.spawn(self.client.scheduler.workpool_all_back(seconds=self._timeout)).result()
        # Not by the client's scheduler_info: that gives what the client has last been told, and it asks
        # by itself, too, every two seconds, and without the workers.
        workers = self.spawn(self.workers()).result()
        self.slots = sum(worker["nthreads"] for worker in workers.values()) or usable_cpus()
        # What each of them has: on a cluster of ours a task may come to any.
        self.common: dict[str, float] = {
            name: min(worker["resources"].get(name, 0.0) for worker in workers.values())
            for name in {name for worker in workers.values() for name in worker["resources"]}
        }
        if self.ours and not (workers and all(map(_can_be_ended, workers.values()))):
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
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError as error:  # the loop has ended with its client
            coroutine.close()
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed

    @property
    def closed(self) -> bool:
        """Whether the client is, and so the loop."""
        return bool(self.client.status == "closed")

    def submit(self, call: Callable[..., Any], *args: Any, size: int, **terms: Any) -> Any:
        """Have Dask make a call of about so many bytes, once; from any thread."""
        submit = partial(self.client.submit, call, *args, pure=False, retries=0, **terms)
        if size < _LARGE:
            return submit()
        # Dask warns of large ones, and advises what is not for a pool's tasks to follow; where warnings
        # are errors, it sends nothing. Filters are the program's: changed for as long as it must be.
        with _quiet, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            return submit()

    async def workers(self) -> dict[str, Any]:
        """Give what the scheduler knows of its workers, by address."""
        workers: dict[str, Any] = (await self.client.scheduler.identity(n_workers=-1))["workers"]
        return workers

    async def forget(self, order: Any) -> None:
        """Have Dask drop an order; what runs already goes on, for nobody."""
        with suppress(Exception):  # the client has ended, and Dask forgets what it wanted
            await self.client.cancel([order], force=True, asynchronous=True)

    # ----------------------------------------------------------- on a cluster of our own

    async def find_worker(self, index: int, wanted: Callable[[], bool]) -> tuple[str, str] | None:
        """Wait for a worker that no other slot has; gives its address, and its nanny's.

        The nanny of a worker that has ended starts another; where a machine has ended with its
        nannies nobody does, and the pool goes on with the others. So only when none is there for long
        is that a failed start. Dask tells nobody of new workers, so this looks again.
        """
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + self._timeout, _LOOK_AGAIN
        before = self._taken.pop(index, None)
        while wanted():
            workers: dict[str, str] = {
                each["nanny"]: address
                for address, each in (await self._workers_there()).items()
                if each["status"] == "running" and _can_be_ended(each)
            }
            free = sorted(workers.keys() - self._taken.values())
            if free and wanted():
                nanny = before if before is not None and before in free else free[index % len(free)]
                self._taken[index] = nanny
                return workers[nanny], nanny
            if loop.time() > until and not workers:
                return None
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MOST)
        return None

    async def _workers_there(self) -> dict[str, Any]:
        """Give the same; but do not wait for a cluster of our own that has ended, as Dask would for a minute."""
        asked = asyncio.ensure_future(self.workers())
        try:
            while not asked.done():
                if self._cluster is not None and self._cluster.exit_code is not None:
                    message = (
                        "the Dask cluster on this machine, which the pool has started, has ended (exit code "
                        f"{self._cluster.exit_code})"
                    )
                    raise WorkerStartFailed(message)
                await asyncio.wait([asked], timeout=_MOST)
            return asked.result()
        finally:
            asked.cancel()

    def let_go(self, index: int) -> None:
        """Let others have the worker of a slot; from any thread."""
        with suppress(RuntimeError):  # the loop has ended with its client
            self.loop.call_soon_threadsafe(self._taken.pop, index, None)

    async def kill_worker(self, address: str, nanny: str) -> bool:
        """Have the worker's nanny kill it, as nothing in the worker could refuse; it starts another.

        True when Dask's scheduler has seen that; False when it was gone, or going.
        """
        from workpool.backends.dask.guard import kill_worker

        with suppress(Exception):  # it cannot be reached
            killed: dict[str, Any] = await self.client.run(
                kill_worker,
                address,
                workers=[address],
                nanny=True,
                on_error="ignore",
                asynchronous=True,
            )
            if any(each is True for each in killed.values()):
                await self.client.scheduler.workpool_killed(nanny=nanny, address=address)
                return True
        return False


def _can_be_ended(worker: dict[str, Any]) -> bool:
    """Tell whether a worker runs one task at a time, and has a nanny to start another in its place."""
    return bool(worker["nanny"]) and worker["nthreads"] == 1


def encodable(text: str) -> str:
    """Give a text as Dask can send it: what is no character (of a file's name, say) is written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def import_distributed() -> Any:
    """Load Dask, or say what is missing."""
    try:
        return import_module("distributed")
    except ImportError as error:
        message = 'backend="dask" needs the package distributed: pip install "workpool[dask]".'
        raise Unsupported(message) from error
