"""The end of a pool's lives in Dask's workers: each context is left, or its worker is given up in time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.backends.dask import lives
from workpool.ipc import pickling
from workpool.safelog import SafeLog
from workpool.waits import LOOK_AGAIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.backends.dask.connection import Connection

__all__ = ["say_farewell"]

_log = SafeLog("workpool")

_ANSWER = 10.0  # seconds that a worker may take to hear of it


async def say_farewell(
    connection: Connection,
    pool: str,
    token: str,
    timeout: float | None,
    killed: Callable[[], bool],
) -> None:
    """Have all contexts of a pool left, for so many seconds at most, or until it is killed; in the client's loop."""
    if killed():
        await _abandon(connection, token, None)
        return
    leaving = {
        asyncio.ensure_future(_there(connection, lives.leave, token, address)): address
        for address in await _end(connection, pool, token)
    }
    until = None if timeout is None else monotonic() + timeout
    late = set(leaving)
    while late and not killed() and (until is None or monotonic() < until):
        pause = LOOK_AGAIN if until is None else min(LOOK_AGAIN, max(0.0, until - monotonic()))
        left, late = await asyncio.wait(late, timeout=pause)
        for each in left:
            _tell_what_went_wrong(pool, each)
    if not late:
        return
    for each in late:
        each.cancel()
        if not killed():
            _log.warning(
                "worker_context of %s was to leave the Dask worker at %s and has not within "
                "end_timeout=%s s: %s",
                pool,
                leaving[each],
                timeout,
                "the worker is killed"
                if connection.ours
                else "it is left to itself, for others use the worker",
            )
    if connection.ours:
        workers = await connection.workers()
        for address in [leaving[each] for each in late if leaving[each] in workers]:
            await asyncio.wait_for(
                connection.kill_worker(address, workers[address]["nanny"]), _ANSWER
            )


async def _end(connection: Connection, pool: str, token: str) -> list[str]:
    """End the pool's lives; gives the workers whose contexts are to be left.

    Each is asked alone, for one that is silent (it is stopped, or busy in C code) must cost the
    others nothing. It hears of the end when it listens again.
    """
    workers = await asyncio.wait_for(connection.workers(), _ANSWER)
    asked = {
        asyncio.ensure_future(_there(connection, lives.end, token, address)): address
        for address in workers
    }
    if not asked:
        return []
    answered, silent = await asyncio.wait(asked, timeout=_ANSWER)
    if silent:
        addresses = [asked[each] for each in silent]
        for each in silent:
            each.cancel()
        _log.warning(
            "Dask workers have not answered within %g s, and let go of %s, which has ended, when they can: %s",
            _ANSWER,
            pool,
            ", ".join(sorted(addresses)),
        )
        with suppress(Exception):  # those that answered are to leave theirs, come what may
            await _abandon(connection, token, addresses)
    return [
        asked[each]
        for each in answered
        if each.exception() is None and each.result().get(asked[each]) is True
    ]


async def _abandon(connection: Connection, token: str, workers: list[str] | None) -> None:
    """Have the scheduler tell workers, all or these, of the end of a pool, of which nobody waits to hear."""
    call = connection.client.scheduler.workpool_abandon(token=token, workers=workers)
    await asyncio.wait_for(call, _ANSWER)


async def _there(connection: Connection, what: Any, token: str, worker: str) -> dict[str, Any]:
    """Call a function in one worker; gives what it returns, by the address, or nothing where it failed."""
    answer: dict[str, Any] = await connection.client.run(
        what, token, workers=[worker], on_error="ignore", asynchronous=True
    )
    return answer


def _tell_what_went_wrong(pool: str, left: asyncio.Future[dict[str, Any]]) -> None:
    """Log the error of a context, as of one in a process."""
    if left.exception() is not None:
        return  # its worker has ended, or the connection
    for address, failure in left.result().items():
        if failure is not None:
            error = pickling.load_error_or_stand_in(failure[1])
            _log.error(
                "worker_context of %s failed to leave the Dask worker at %s",
                pool,
                address,
                exc_info=error,
            )
