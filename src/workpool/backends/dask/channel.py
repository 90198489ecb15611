"""The way to what a pool keeps in Dask's scheduler, from the program and from any worker."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import Any

__all__ = ["DaskChannel", "attach", "detach"]

_clients: dict[str, Any] = {}  # of pools that were made in this process, by their tokens


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
        client = _clients.get(self._token)
        if client is not None:
            loop, scheduler, life = client.loop, client.scheduler, client.id
        else:
            worker = _worker(distributed)
            loop, scheduler, life = worker.loop, worker.scheduler, worker.address
        result: bytes = distributed.utils.sync(
            loop,
            scheduler.workpool_place,
            token=self._token,
            owner=[life, os.getpid(), threading.get_ident()],
            number=number,
            name=name,
            arguments=arguments,
        )
        return result


def _worker(distributed: Any) -> Any:
    """Find the Dask worker that this is, also in a thread that a task has started."""
    try:
        return distributed.get_worker()
    except ValueError:
        for worker in distributed.Worker._instances:
            return worker
    message = (
        "this shared state is of a pool on Dask: it can be used in the program and in its tasks"
    )
    raise RuntimeError(message)
