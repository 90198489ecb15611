"""The way to what a pool keeps in Dask's scheduler, from the program and from any worker.

A call that waits there holds a connection until it is answered, and Dask needs some for
itself, of which it allows so many in a process. So it is allowed one more for each call of ours
that is under way; those stay, for the next calls.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from importlib import import_module
from typing import Any

from workpool.errors import ForkedPool, SharedStateLost

__all__ = ["DaskChannel", "attach", "detach"]

_clients: dict[str, Any] = {}  # of pools that were made in this process, by their tokens
# What this process, a forked child, knows from its parent; the loops of these are not here.
_of_the_parent: list[Any] = []


def attach(token: str, client: Any) -> None:
    """Have calls from this process go through the pool's own client."""
    _clients[token] = client


def detach(token: str) -> None:
    """Forget the pool's client."""
    _clients.pop(token, None)


class DaskChannel:
    """Calls the place of one pool; each call says whose it is: which process, and thread."""

    __slots__ = ("_token",)

    def __init__(self, token: str) -> None:
        self._token = token

    def __reduce__(self) -> tuple[object, ...]:
        return DaskChannel, (self._token,)

    def call(self, number: int, name: str, arguments: bytes) -> bytes:
        """Make a call of the place, and wait for what it gives."""
        distributed: Any = import_module("distributed")
        server = _clients.get(self._token)
        if server is not None:
            life = server.id
        else:
            server = _worker(distributed)
            life = server.address
        if _of_the_parent and any(server is each for each in _of_the_parent):
            message = (
                "this shared state cannot be used in a forked process: the threads that connect it to Dask stayed in "
                "the parent. Use it there, or make a pool in the child."
            )
            raise ForkedPool(message)
        try:
            result: bytes = distributed.utils.sync(
                server.loop,
                _ask,
                server,
                token=self._token,
                owner=[life, os.getpid(), threading.get_ident()],
                number=number,
                name=name,
                arguments=arguments,
            )
        except (OSError, RuntimeError) as error:  # what went wrong over there comes as an answer
            message = (
                "this shared state cannot be reached: the connection to the Dask scheduler that keeps it has ended "
                f"({type(error).__name__}: {error})"
            )
            raise SharedStateLost(message) from error
        return result


class _Rooms:
    """How many calls are under way over the connections of a client, or a worker; in its loop."""

    __slots__ = ("free", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self.free = 0  # for how many there is room beside Dask's own


_rooms: weakref.WeakKeyDictionary[Any, _Rooms] = weakref.WeakKeyDictionary()


async def _ask(server: Any, **call: Any) -> bytes:
    connections, scheduler = server.rpc, server.scheduler
    if scheduler is None:
        message = "the client is closed"
        raise RuntimeError(message)
    rooms = _rooms.get(connections)
    if rooms is None:
        rooms = _rooms[connections] = _Rooms()
    rooms.under_way += 1
    if rooms.under_way > rooms.free:
        rooms.free += 1
        connections.limit += 1
        connections.semaphore.release()
    try:
        answer: bytes = await scheduler.workpool_place(**call)
        return answer
    finally:
        rooms.under_way -= 1


def _worker(distributed: Any) -> Any:
    """Find the Dask worker that this is, also in a thread that a task has started."""
    try:
        return distributed.get_worker()
    except ValueError:
        for worker in distributed.Worker._instances:
            return worker
    message = (
        "this shared state cannot be reached: its pool on Dask has ended, or this process is neither the program that "
        "made the pool nor one of its workers"
    )
    raise SharedStateLost(message)


def _after_fork() -> None:
    distributed: Any = sys.modules.get("distributed")
    workers = () if distributed is None else distributed.Worker._instances
    _of_the_parent[:] = [*_of_the_parent, *_clients.values(), *workers]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
