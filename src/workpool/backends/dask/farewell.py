"""The end of a pool's lives in Dask's workers: each context is left, or its worker is given up in time."""

from __future__ import annotations

import asyncio
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

_ANSWER = 10.0  # seconds that all workers may take to hear of it


async def say_farewell(
    connection: Connection,
    pool: str,
    token: str,
    timeout: float | None,
    killed: Callable[[], bool],
) -> None:
    """Have all contexts of a pool left, for so many seconds at most, or until it is killed; in the client's loop."""
    if killed():
        await asyncio.wait_for(_everywhere(connection, lives.abandon, token), _ANSWER)
        return
    answers = await asyncio.wait_for(_everywhere(connection, lives.end, token), _ANSWER)
    leaving = {
        asyncio.ensure_future(
            _everywhere(connection, lives.leave, token, workers=[address])
        ): address
        for address, answer in answers.items()
        if answer is True
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


async def _everywhere(
    connection: Connection, what: Any, token: str, **where: Any
) -> dict[str, Any]:
    answers: dict[str, Any] = await connection.client.run(
        what, token, on_error="ignore", asynchronous=True, **where
    )
    return answers


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
