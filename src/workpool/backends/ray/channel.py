"""The way to what a pool keeps in an actor of Ray's, from the program and from any worker."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import Any

from workpool.backends.ray.connection import identity_of, refuse_forked
from workpool.errors import SharedStateLost

__all__ = ["NAMESPACE", "RayChannel", "forget"]

NAMESPACE = "workpool"

# The actors that this process has asked for, by their names; each with the connection over which it has.
_hosts: dict[str, tuple[object, Any]] = {}


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
        refuse_forked()
        ray: Any = import_module("ray")
        connection = identity_of(ray)
        if connection is None:
            message = (
                "this shared state cannot be reached: its pool on Ray has ended, or this process is neither the "
                "program that made the pool nor one of its workers"
            )
            raise SharedStateLost(message)
        from workpool.backends.ray.far import life_here

        owner = life_here(), os.getpid(), threading.get_ident()
        try:
            asked_over, host = _hosts.get(self._name, (None, None))
            if asked_over != connection:  # Ray would end the program for the handle of another one
                host = ray.get_actor(self._name, namespace=NAMESPACE)
                _hosts[self._name] = connection, host
            result: bytes = ray.get(host.call.remote(owner, number, name, arguments))
        except (ray.exceptions.RayActorError, ValueError) as error:
            message = "this shared state is no more: the pool that made it has ended"
            raise SharedStateLost(message) from error
        return result
