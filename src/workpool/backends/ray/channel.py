"""The way to what a pool keeps in an actor of Ray's, from the program and from any worker."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import Any

from workpool.errors import SharedStateLost

__all__ = ["NAMESPACE", "RayChannel", "forget"]

NAMESPACE = "workpool"

_hosts: dict[str, Any] = {}  # the actors that this process has asked for, by their names


def forget(name: str) -> None:
    """Ask no more for the actor of that name."""
    _hosts.pop(name, None)


class RayChannel:
    """Calls the place of one pool; each call says whose it is: which process, and thread."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> tuple[object, ...]:
        return RayChannel, (self._name,)

    def call(self, number: int, name: str, arguments: bytes) -> bytes:
        """Make a call of the place, and wait for what it gives."""
        ray: Any = import_module("ray")
        if not ray.is_initialized():
            message = "this shared state is of a pool on Ray: it can be used in the program and in its tasks"
            raise RuntimeError(message)
        from workpool.backends.ray.far import life_here

        owner = life_here(), os.getpid(), threading.get_ident()
        try:
            host = _hosts.get(self._name)
            if host is None:
                host = _hosts[self._name] = ray.get_actor(self._name, namespace=NAMESPACE)
            result: bytes = ray.get(host.call.remote(owner, number, name, arguments))
        except (ray.exceptions.RayActorError, ValueError) as error:
            message = "this shared state is no more: the pool that made it has ended"
            raise SharedStateLost(message) from error
        return result
