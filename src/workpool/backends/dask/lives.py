"""What runs in Dask's workers: the lives that pools have there, and the orders that are run in them.

Any thread of a worker may run an order, and the first one begins the pool's life. Its
initializer may hang. So a life is begun under a lock of its own, and what the worker's
loop calls (all below but ``begin`` and ``run_order``) never waits for that one: a pool that
ends while its life is being begun has it left by whoever begins it.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from workpool._compat import Lock
from workpool.backends.engine.remote import Life, Unwanted, dump_failure
from workpool.errors import PoolClosed

__all__ = ["RUNS", "ask_to_end", "begin", "leave", "offset", "run_order", "stack", "starting"]

RUNS = -2.0  # what `starting` says of an order that has a life to run in

_lock = Lock()  # guards _stays, and of each its life and left; held for a moment
_stays: dict[str, _Stay] = {}  # by pool, as its token names it


class _Stay:
    """A pool's life in this worker, or the beginning of it."""

    __slots__ = ("beginning", "left", "life", "since", "unwanted")

    def __init__(self) -> None:
        self.beginning = Lock()  # held while the life is begun, so that it is begun once
        self.life: Life | None = None
        self.since = 0.0  # when somebody began to begin it; 0 while nobody does
        self.left = False  # the pool has ended
        self.unwanted = Unwanted()  # orders; the life's, once there is one


def begin(token: str, pool: str, setup: bytes, worker: int) -> tuple[int, bytes] | None:
    """Begin the pool's life here, before there is anything to do; gives what went wrong."""
    try:
        _life(token, pool, setup, worker)
    except BaseException as error:
        return dump_failure(error)
    return None


def run_order(
    token: str, pool: str, setup: bytes | None, order: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Run an order in this worker; the first one of a pool begins the pool's life here."""
    try:
        life = _life(token, pool, setup, order[1])
    except BaseException as error:
        return dump_failure(error)
    return life.run(order)


def _life(token: str, pool: str, setup: bytes | None, worker: int) -> Life:
    with _lock:
        stay = _stays.get(token)
        if stay is None:
            stay = _stays[token] = _Stay()
        begun = stay.life
    if begun is not None:
        return begun
    with stay.beginning:
        begun = stay.life
        if begun is not None:
            return begun
        stay.since = monotonic()
        try:
            life = Life(pool, worker, setup, stay.unwanted)
        finally:
            stay.since = 0.0
        with _lock:
            stay.life = life
            left = stay.left
    if left:
        life.leave()
        message = f"{pool} has ended"
        raise PoolClosed(message)
    return life


def leave(token: str) -> None:
    """End a pool's life in this worker; one that is being begun, when it has."""
    with _lock:
        stay = _stays.pop(token, None)
        if stay is None:
            return
        stay.left = True
        life = stay.life
    if life is not None:
        life.leave()


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
