"""What keeps watch in Dask's own processes: a guard in its scheduler; and what its nannies do for us.

Dask runs a task again when its worker dies, or has died with the result: good for pure
functions, and not what a pool promises. The guard is a plugin of the scheduler that has
ours fail at the first death instead, without changing a setting that others on the same
cluster rely on.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from workpool.backends.engine.remote import Unwanted
from workpool.errors import SharedStateLost

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MARK",
    "NOWHERE",
    "UNWANTED",
    "Guard",
    "enter",
    "forget",
    "host",
    "keeps",
    "kill_worker",
]

_SchedulerPlugin: Any = import_module("distributed.diagnostics.plugin").SchedulerPlugin

MARK = "-workpool-"  # in the key of every task of ours

# Why the guard cancels a task of ours that no worker has been given.
NOWHERE = "workpool: no such worker"
UNWANTED = "workpool: nobody wants it"
_WAITS = ("no-worker", "queued")  # such a task

_LOOK_AGAIN = 0.05  # seconds
_DEATH = 10.0  # seconds that Dask may take to see that a worker is dead
_BACK = 90.0  # seconds in which a client may be back; one of ours tries for 60


async def kill_worker(address: str, *, dask_worker: Any) -> bool:
    """Kill the worker of that address, if it is there; runs in its nanny.

    But not while one starts, for a nanny whose worker dies then gives up; and not the one that comes next.
    """
    process: Any = dask_worker.process
    while process is not None and process.status.name == "starting":  # noqa: ASYNC110 - Dask tells nobody
        await asyncio.sleep(_LOOK_AGAIN)
    if process is None or process.status.name != "running" or process.worker_address != address:
        return False
    pid = process.pid
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    return pid is not None


class Guard(_SchedulerPlugin):  # type: ignore[misc]  # Dask has no types; it asks for this base
    """Lets no task of ours be run a second time because its worker died; keeps what pools share."""

    name = "workpool-guard"
    idempotent = True

    def __init__(self) -> None:
        self._scheduler: Any = None
        self._places: dict[
            str, tuple[str, Any]
        ] = {}  # by pool: the client it ends with, and the place
        self._pools: dict[str, str] = {}  # the client that each of them ends with
        self._cut_off: dict[str, asyncio.TimerHandle] = {}  # clients; what gives them up in a while
        self._farewells: set[asyncio.Task[None]] = set()  # under way
        self._unwanted = Unwanted()
        self._killed: set[str] = set()  # nannies whose workers were, and are not there again
        self._back = asyncio.Event()  # set when one is
        self._gone = asyncio.Event()  # set when a worker has ended

    async def start(self, scheduler: Any) -> None:
        """Take up the work in a scheduler."""
        self._scheduler = scheduler
        scheduler.handlers["workpool_place"] = self.call_place
        scheduler.handlers["workpool_killed"] = self.killed
        scheduler.handlers["workpool_unwanted"] = self.unwanted
        scheduler.handlers["workpool_all_back"] = self.all_back
        scheduler.handlers["workpool_abandon"] = self.abandon

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """See that a task of ours which goes to a worker goes to no other after that."""
        del start, args, kwargs
        if type(key) is not str or MARK not in key:
            return
        task = self._scheduler.tasks.get(key)
        if finish == "no-worker" and task.worker_restrictions:
            # It was to go to a worker that has died meanwhile, and would wait for that for ever.
            asyncio.get_running_loop().call_soon(self._send_back, key, NOWHERE)
        elif finish in _WAITS and self._unwanted.take(key):
            asyncio.get_running_loop().call_soon(self._send_back, key, UNWANTED)
        elif finish == "processing":
            # To the brink of what Dask lets pass: the death of a worker that has it is told as that.
            task.suspicious = max(task.suspicious, self._scheduler.allowed_failures)
            # And where Dask asks for no suspicion before it begins a task anew (its result was with a
            # worker that died, its worker was sent away), it takes it for one that cannot be computed
            # any more, and tells the client that it is cancelled.
            task.has_lost_dependencies = True

    def _send_back(self, key: str, why: str) -> None:
        """Tell the client that a task has not begun and never will; once Dask's own step is over."""
        task = self._scheduler.tasks.get(key)
        if task is not None and task.state in _WAITS:
            for client in list(task.who_wants or ()):
                name = client.client_key
                self._scheduler.stimulus_cancel([key], name, force=True, reason=why, msg="")

    async def unwanted(self, key: str) -> None:
        """See that a task of ours goes to no worker, if it has not yet; a handler of the scheduler, in its loop.

        The client's wish may be here before the task, or come in the middle of its way.
        """
        self._unwanted.add(key)
        self._send_back(key, UNWANTED)

    def enter(self, token: str, client: str) -> None:
        """Know of a pool."""
        self._pools[token] = client

    def host(self, token: str, client: str, make: Callable[[], Any]) -> None:
        """Keep a place for a pool."""
        self._places[token] = client, make()

    def forget(self, token: str) -> None:
        """Let a pool go, and its place."""
        self._pools.pop(token, None)
        self._places.pop(token, None)

    async def call_place(
        self, token: str, owner: list[Any], number: int, name: str, arguments: bytes
    ) -> bytes:
        """Make a call of a pool's place; a handler of the scheduler, in its loop."""
        _, place = self._places.get(token, ("", None))
        if place is None:
            message = (
                "this shared state is no more: the pool that made it has ended, or was without a connection to the "
                f"Dask scheduler for {_BACK:g} s"
            )
            return pickle.dumps((False, SharedStateLost(message)))
        result: bytes = await place.call(tuple(owner), number, name, arguments)
        return result

    async def killed(self, nanny: str, address: str) -> None:
        """Take in that a pool has killed a worker which that nanny minds; returns when Dask has seen it, too.

        A handler of the scheduler.
        """
        self._killed.add(nanny)
        await _until(lambda: address not in self._scheduler.workers, self._gone, _DEATH)

    async def all_back(self, seconds: float) -> None:
        """Wait until those workers are there again; for so long at most. A handler, too."""
        await _until(lambda: not self._killed, self._back, seconds)
        self._killed.clear()  # who is not back by now does not come

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """See who is back."""
        self._killed.discard(scheduler.workers[worker].nanny)
        self._back.set()

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Free what a worker owned that has ended."""
        del scheduler, kwargs
        self._gone.set()
        for _, place in self._places.values():
            place.ended(worker)

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Let go of a program: at once if it says that it goes, else in a while, for a connection may be back."""
        stream = scheduler.client_comms.get(client)
        if stream is not None and not stream.closed():
            self._let_go(client, for_good=True)
        else:
            self._expect_no_more(client)
            loop = asyncio.get_running_loop()
            self._cut_off[client] = loop.call_later(_BACK, self._give_up, client)

    def add_client(self, scheduler: Any, client: str) -> None:
        """See who is back: if it is cut off again, it has all of its time again."""
        del scheduler
        self._expect_no_more(client)

    def _expect_no_more(self, client: str) -> None:
        late = self._cut_off.pop(client, None)
        if late is not None:
            late.cancel()

    def _give_up(self, client: str) -> None:
        self._cut_off.pop(client, None)
        if client not in self._scheduler.clients:
            self._let_go(client, for_good=False)

    def _let_go(self, client: str, *, for_good: bool) -> None:
        """Let the pools go of a program that has ended, in all workers, too; free what it owned elsewhere."""
        for token in [token for token, owner in self._pools.items() if owner == client]:
            self.forget(token)
            self._abandon(token, None, for_good=for_good)
        for token, (owner, place) in list(self._places.items()):
            if owner == client:
                self.forget(token)
            else:
                place.ended(client)

    async def abandon(self, token: str, workers: list[str] | None) -> None:
        """Have a pool's lives end in all workers, or these, without a wait for any; a handler, too."""
        self._abandon(token, workers, for_good=True)

    def _abandon(self, token: str, workers: list[str] | None, *, for_good: bool) -> None:
        farewell = asyncio.ensure_future(self._say_farewell(token, workers, for_good))
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)

    async def _say_farewell(self, token: str, workers: list[str] | None, for_good: bool) -> None:
        from workpool.backends.dask.lives import abandon

        call = {
            "op": "run",
            "function": pickle.dumps(abandon),
            "args": pickle.dumps((token, for_good)),
        }
        with suppress(Exception):  # the scheduler is closed
            await self._scheduler.broadcast(
                msg={**call, "wait": True}, workers=workers, on_error="ignore"
            )


async def _until(so: Callable[[], bool], news: asyncio.Event, seconds: float) -> None:
    """Wait until something is so; looks at each of such news, and for so long at most."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not so() and (left := until - loop.time()) > 0:
        news.clear()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(news.wait(), left)


def enter(token: str, client: str, *, dask_scheduler: Any) -> None:
    """Have the guard know of a pool; runs in the scheduler."""
    dask_scheduler.plugins[Guard.name].enter(token, client)


def host(token: str, client: str, make: Callable[[], Any], *, dask_scheduler: Any) -> None:
    """Have the guard keep a place; runs in the scheduler."""
    dask_scheduler.plugins[Guard.name].host(token, client, make)


def keeps(token: str, *, dask_scheduler: Any) -> bool:
    """Tell whether the guard keeps a place; runs in the scheduler."""
    return token in dask_scheduler.plugins[Guard.name]._places


def forget(token: str, *, dask_scheduler: Any) -> None:
    """Have the guard let a place go; runs in the scheduler."""
    dask_scheduler.plugins[Guard.name].forget(token)
