"""What runs in Dask's workers: the lives that pools have there, and the orders that are run in them.

Any thread of a worker may run an order, and the first one begins the pool's life. Its
initializer may hang. So a life is begun under a lock of its own, and what the worker's
loop calls (all coroutines below) never waits for that one.

A life is left in a thread that runs tasks, as it was begun in one: the only one there is, where a
worker has one thread. Not while anybody is in it: if its pool is killed, it is left by the last one
who comes out of it.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from workpool._compat import Lock
from workpool.backends.engine.remote import Life, Unwanted, dump_failure
from workpool.errors import PoolClosed
from workpool.safelog import SafeLog

__all__ = [
    "RUNS",
    "abandon",
    "ask_to_end",
    "begin",
    "end",
    "leave",
    "offset",
    "run_order",
    "stack",
    "starting",
]

RUNS = -2.0  # what `starting` says of an order that has a life to run in

_MOST_ENDED = 1000  # pools; what is still on its way for an older one has never been seen

_log = SafeLog("workpool")
_lock = (
    Lock()
)  # guards _stays and _ended, and of each stay its life, left and users; held for a moment
_stays: dict[str, _Stay] = {}  # by pool, as its token names it
_ended: dict[str, None] = {}  # pools that have; in that order


class _Stay:
    """A pool's life in this worker, or the beginning of it."""

    __slots__ = ("beginning", "left", "life", "since", "unwanted", "users")

    def __init__(self) -> None:
        self.beginning = Lock()  # held while the life is begun, so that it is begun once
        self.life: Life | None = None
        self.since = 0.0  # when somebody began to begin it; 0 while nobody does
        self.left = False  # the pool has ended
        self.users = 0  # threads that are in it
        self.unwanted = Unwanted()  # orders; the life's, once there is one


def begin(token: str, pool: str, setup: bytes, worker: int) -> tuple[int, bytes] | None:
    """Begin the pool's life here, before there is anything to do; gives what went wrong."""
    outcome = _inside(token, pool, setup, worker, None)
    return None if outcome is None else (outcome[0], outcome[1])


def run_order(
    token: str, pool: str, setup: bytes | None, order: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Run an order in this worker; the first one of a pool begins the pool's life here."""
    outcome = _inside(token, pool, setup, order[1], order)
    assert outcome is not None  # there was an order
    return outcome


def _inside(
    token: str, pool: str, setup: bytes | None, worker: int, order: tuple[Any, ...] | None
) -> tuple[Any, ...] | None:
    """Run an order in the pool's life here, or just begin that."""
    with _lock:
        ended = token in _ended
        stay = _stays.get(token)
        if stay is None:
            stay = _Stay()
            if not ended:
                _stays[token] = stay
        stay.users += 1
    try:
        try:
            if ended:
                raise _has_ended(pool)
            life = stay.life or _begin(stay, pool, setup, worker)
        except BaseException as error:
            return dump_failure(error)
        return None if order is None else life.run(order)
    finally:
        with _lock:
            stay.users -= 1
            last = stay.left and not stay.users
        if last:
            _leave_unheard(stay)


def _begin(stay: _Stay, pool: str, setup: bytes | None, worker: int) -> Life:
    with stay.beginning:
        if stay.life is not None:
            return stay.life
        stay.since = monotonic()
        try:
            life = Life(pool, worker, setup, stay.unwanted)
        finally:
            stay.since = 0.0
        with _lock:
            stay.life = life
            left = stay.left
    if left:  # meanwhile
        raise _has_ended(pool)
    return life


def _has_ended(pool: str) -> PoolClosed:
    return PoolClosed(f"{pool} has ended")


async def end(token: str, *, for_good: bool = True) -> bool:
    """See that no more orders of a pool begin here; tell whether it has something to `leave`."""
    with _lock:
        if for_good:
            _ended[token] = None
        if len(_ended) > _MOST_ENDED:
            del _ended[next(iter(_ended))]
        stay = _stays.get(token)
        if stay is None:
            return False
        stay.left = True
        if not stay.users and stay.life is not None and stay.life.entered:
            return True
        del _stays[token]
    return False


async def leave(token: str, *, dask_worker: Any) -> tuple[int, bytes] | None:
    """Leave a life that has ended, where tasks run; gives what went wrong."""
    threads = dask_worker.executors["default"]
    return await asyncio.get_running_loop().run_in_executor(threads, _leave, token)


async def abandon(token: str, for_good: bool = True, *, dask_worker: Any) -> None:
    """Do both for a pool that is killed, or whose program is; nobody waits for it. Else it may be back one day."""
    if await end(token, for_good=for_good):
        with _lock:
            stay = _stays.pop(token, None)
        if stay is not None:
            dask_worker.executors["default"].submit(_leave_unheard, stay)


def _leave(token: str) -> tuple[int, bytes] | None:
    with _lock:
        stay = _stays.pop(token, None)
    try:
        if stay is not None and stay.life is not None:
            stay.life.leave()
    except BaseException as error:
        return dump_failure(error)
    return None


def _leave_unheard(stay: _Stay) -> None:
    try:
        if stay.life is not None:
            stay.life.leave()
    except BaseException:
        _log.exception("worker_context failed to leave this Dask worker, after the end of its pool")


def _begun(token: str) -> Life | None:
    stay = _stays.get(token)
    return None if stay is None else stay.life


async def starting(token: str, number: int) -> float:
    """Tell how long a life of that pool has been beginning, in seconds; `RUNS` if the order runs, -1.0 if neither."""
    stay = _stays.get(token)
    if stay is None:
        return -1.0
    if stay.life is not None and stay.life.offset(number) >= 0:
        return RUNS
    since = stay.since
    return monotonic() - since if since else -1.0


async def ask_to_end(token: str, number: int) -> None:
    """Let an order see that it is not wanted any more; in the worker's loop, so it waits for no slot.

    It may not be here yet, nor the life that it is for.
    """
    with _lock:
        if token in _ended:
            return
        stay = _stays.setdefault(token, _Stay())
        life = stay.life
        if life is None:
            stay.unwanted.add(number)
    if life is not None:
        life.ask_to_end(number)


async def offset(token: str, number: int) -> int:
    """Tell which item of an order runs here."""
    life = _begun(token)
    return -1 if life is None else life.offset(number)


async def stack(token: str, number: int) -> str:
    """Write down where an order stands, if it runs here."""
    life = _begun(token)
    return "" if life is None else life.stack(number)
