"""What runs in Ray's own processes: an actor for each worker of a pool, and one for what it shares.

A worker's orders run in one thread, its first and its last words too. What is asked of
it meanwhile (where it stands, to see that it is not wanted any more) has threads of its
own, and so has the one call that never returns: Ray fails it when the actor dies, and
so a death is heard of while nothing runs, too.
"""

from __future__ import annotations

import os
import threading
from importlib import import_module
from socket import gethostname
from typing import TYPE_CHECKING, Any

from workpool.backends.engine.remote import Life, dump_failure

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PoolHost", "PoolWorker", "life_here", "remote_host", "remote_worker"]

_ray: Any = import_module("ray")
_aside: Any = _ray.method(concurrency_group="aside")
_watch: Any = _ray.method(concurrency_group="watch")

_MOST_CALLS = 100_000  # of shared state, that may wait at the same time


def life_here() -> str:
    """Name this process of Ray's: what it owns is free when the engine tells of its end."""
    life: str = _ray.get_runtime_context().get_worker_id()
    return life


class PoolWorker:
    """One worker of a pool; its class is the name by which Ray shows it."""

    def __init__(self, pool: str, index: int) -> None:
        self._pool = pool
        self._index = index
        self._life: Life | None = None
        self._failure: tuple[int, bytes] | None = None

    def hello(self) -> tuple[str, int, str]:
        """Tell who this is: the process's name in Ray, its number, and its machine."""
        return life_here(), os.getpid(), gethostname()

    def begin(self, setup: bytes | None) -> bytes | None:
        """Run the initializer and enter the context; gives the failure of that."""
        try:
            self._life = Life(self._pool, self._index, setup)
        except BaseException as error:
            return dump_failure(error)[1]
        return None

    def run(self, order: tuple[Any, ...]) -> tuple[Any, ...]:
        """Run an order."""
        assert self._life is not None  # it has begun, or nothing is sent
        return self._life.run(order)

    def leave(self) -> bytes | None:
        """Leave the context; gives the failure of that."""
        try:
            if self._life is not None:
                self._life.leave()
        except BaseException as error:
            return dump_failure(error)[1]
        return None

    @_aside  # type: ignore[untyped-decorator]  # Ray has no types
    def ask_to_end(self, number: int) -> None:
        """Let an order see that it is not wanted any more."""
        if self._life is not None:
            self._life.ask_to_end(number)

    @_aside  # type: ignore[untyped-decorator]  # the same
    def offset(self, number: int) -> int:
        """Tell which item of an order runs."""
        return -1 if self._life is None else self._life.offset(number)

    @_aside  # type: ignore[untyped-decorator]  # the same
    def stack(self, number: int) -> str:
        """Write down where an order stands."""
        return "" if self._life is None else self._life.stack(number)

    @_watch  # type: ignore[untyped-decorator]  # the same
    def stay(self) -> None:
        """Return never: whoever waits for this hears of the death of this process."""
        threading.Event().wait()  # house: lock - in an actor, where nobody ever sets it


class PoolHost:
    """Keeps what a pool shares; makes one call after the other, in the actor's loop."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._place = make()
        self._dead: set[str] = set()

    async def call(
        self, owner: tuple[str, int, int], number: int, name: str, arguments: bytes
    ) -> bytes:
        """Make a call of the place."""
        if owner[0] in self._dead:
            return b""  # still on its way when its caller died: it may own nothing any more
        result: bytes = await self._place.call(owner, number, name, arguments)
        return result

    async def ended(self, life: str) -> None:
        """Free what a process owned that has ended."""
        self._dead.add(life)
        self._place.ended(life)


def remote_worker() -> Any:
    """Give the class of workers, as Ray makes actors of it."""
    return _ray.remote(
        max_restarts=0,  # the pool begins anew itself, and charges the death to what ran
        max_task_retries=0,
        concurrency_groups={"aside": 2, "watch": 1},
    )(PoolWorker)


def remote_host(name: str, namespace: str) -> Any:
    """Give the class of hosts, as Ray makes an actor of it: on the program's machine.

    So what a pool shares is lost with that machine alone, and the pool with it. Not ``soft``: an actor
    that asks for nothing would then stay on whichever machine Ray asked first.
    """
    strategies: Any = import_module("ray.util.scheduling_strategies")
    here = strategies.NodeAffinitySchedulingStrategy(
        _ray.get_runtime_context().get_node_id(), soft=False
    )
    kind = _ray.remote(max_restarts=0, max_task_retries=0, num_cpus=0)(PoolHost)
    return kind.options(
        name=name,
        namespace=namespace,
        max_concurrency=_MOST_CALLS,
        scheduling_strategy=here,
    )
