"""What is looked at while an order is under way on a cluster that others use as well.

Dask puts it where it likes, when it likes, and tells nobody why it waits. So after a while the
workers are asked whether they are still setting themselves up for this pool, and the
scheduler, whether any of them has what the order asks for.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from workpool.backends.dask.lives import RUNS, starting
from workpool.backends.engine import reasons
from workpool.safelog import SafeLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workpool.backends.dask.connection import Connection
    from workpool.backends.engine.clerk import Flight
    from workpool.backends.engine.slots import Slot

__all__ = ["Lookout"]

_log = SafeLog("workpool")

_SAY = 8.0  # seconds after which it is said that no worker has what an order asks for
_ANSWER = 10.0  # seconds that all workers may take to answer


class Lookout:
    """Looks after the orders of one pool; `over`, and what it begins, runs in the loop of Dask's client.

    Parameters
    ----------
    timeout : float or None, seconds
        How long a worker may set itself up; ``None`` where there is nothing to set up, or no end to it.
    """

    def __init__(
        self, connection: Connection, pool: str, token: str, timeout: float | None
    ) -> None:
        self._connection = connection
        self._pool = pool
        self._token = token
        self._timeout = timeout
        self._said: set[frozenset[tuple[str, float]]] = set()  # demands that nobody could meet

    def over(
        self, slot: Slot, flight: Flight, resources: Mapping[str, float]
    ) -> Callable[[], object]:
        """Look after an order, if there is reason to; what this gives ends that."""
        looks: list[asyncio.Task[None]] = []
        if self._timeout is not None:
            looks.append(asyncio.ensure_future(self._at_the_start(slot, flight, self._timeout)))
        if resources:
            looks.append(asyncio.ensure_future(self._for_room(resources)))
        return lambda: [look.cancel() for look in looks]

    async def _at_the_start(self, slot: Slot, flight: Flight, timeout: float) -> None:
        """Fail the pool if a worker takes longer than that to set itself up for it."""
        pause = timeout
        while True:
            await asyncio.sleep(pause)
            answers: dict[str, Any] = {}
            with suppress(Exception):  # a worker that is silent may be at it, too: asked again
                answers = await asyncio.wait_for(
                    self._connection.client.run(
                        starting,
                        self._token,
                        flight.number,
                        on_error="ignore",
                        asynchronous=True,
                    ),
                    _ANSWER,
                )
            seconds = [answer for answer in answers.values() if isinstance(answer, float)]
            if RUNS in seconds:
                return
            longest = max(seconds, default=0.0)
            if longest >= timeout:
                slot.post(partial(self._too_late, slot, flight, timeout))
                return
            pause = timeout - max(0.0, longest)

    async def _for_room(self, resources: Mapping[str, float]) -> None:
        """Say what an order asks for that no worker has, once."""
        demand = frozenset(resources.items())
        if demand in self._said:
            return
        await asyncio.sleep(_SAY)
        try:
            workers = (await self._connection.workers()).values()
        except Exception:  # the connection ends
            return
        if demand in self._said or any(
            all(worker["resources"].get(name, 0.0) >= amount for name, amount in demand)
            for worker in workers
        ):
            return
        self._said.add(demand)
        _log.warning(
            "%s waits for room on the Dask cluster: a task asks for %s, and no worker has that. It runs when one "
            "comes that has (dask worker --resources); or cancel the task, and ask for less.",
            self._pool,
            " and ".join(f"{amount:g} {name}" for name, amount in sorted(demand)),
        )

    def _too_late(self, slot: Slot, flight: Flight, timeout: float) -> None:
        """Fail the pool, unless the order has landed just now; in the clerk's thread."""
        if flight is slot.flight:
            self._connection.spawn(self._connection.forget(flight.ticket))
            slot.give_up(reasons.initializer_died(slot, f"its start_timeout of {timeout} s"))
