"""The connection of a program to Ray: there is one at most, and all its pools use it.

What is there already (the program has called ``ray.init``, or is itself a task of
Ray's) is used and left alone. Else the first pool connects, to the address it names or
to a Ray of the program's own, and the last one to close ends what the first began.

A program may end any connection, by ``ray.shutdown()``, and begin another. That one is no
concern of the pools that had the one before; so each is known by what it is connected to.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from workpool._compat import Lock
from workpool.errors import ForkedPool, Unsupported

if TYPE_CHECKING:
    from workpool.backends.ray.local import LocalRay

__all__ = ["Connection", "identity_of", "refuse_forked"]

_lock = Lock()  # guards _standing and its users
_standing: Connection | None = None
_forked = False  # Ray's threads are not here, and it cannot be begun anew in this process


class Connection:
    """The way to Ray that pools of this program have begun, or found."""

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self.users = 0
        self.begun = False  # by us, and so ended by us
        self.local: LocalRay | None = None
        self._identity: object = None

    @classmethod
    def join(cls, address: str | None, workers: int) -> Connection:
        """Use what there is, or connect; each call is matched by one of ``leave``."""
        global _standing  # noqa: PLW0603 - Ray has one connection in a program, and so have we
        ray = _import()
        if _forked:
            message = (
                'backend="ray" cannot be used in a process that was forked from one which uses Ray: Ray\'s threads did '
                "not come along. Start a new program, or make the pool before."
            )
            raise Unsupported(message)
        _refuse_client(ray, address)
        with _lock:
            found = _standing
            if found is None or not found.stands:  # somebody may have ended it
                if found is not None:
                    found._end_local()
                found = Connection(ray)
                if ray.is_initialized():
                    found.check(address)
                else:
                    found._begin(address or os.environ.get("RAY_ADDRESS"), workers)
                found._identity = identity_of(ray)
                _standing = found
            else:
                found.check(address)
            found.users += 1
        return found

    def leave(self) -> None:
        """Have one user less; the last ends what was begun."""
        global _standing  # noqa: PLW0603 - as above
        with _lock:
            self.users -= 1
            if self.users or _standing is not self:
                return
            _standing = None
            if self.begun and self.stands:
                self.ray.shutdown()
            self._end_local()

    @property
    def stands(self) -> bool:
        """Whether the program has this connection still."""
        return identity_of(self.ray) == self._identity

    def check(self, address: str | None) -> None:
        """Refuse another cluster than the one there is."""
        here = self.address
        if address not in (None, "auto", here):
            message = (
                f"address={address!r} cannot be used beside {here!r}, which this program is connected to: Ray has one "
                "connection in a program. Leave address= away to use that one, or call ray.shutdown() before."
            )
            raise Unsupported(message)

    @property
    def address(self) -> str:
        """Where Ray is."""
        return str(self.ray.get_runtime_context().gcs_address)

    def _begin(self, address: str | None, workers: int) -> None:
        from workpool.backends.ray.local import LocalRay, connect

        if address:
            connect(address)
        else:
            self.local = LocalRay(workers)
            try:
                self.local.connect()
            except BaseException:
                self._end_local()
                raise
        self.begun = True

    def _end_local(self) -> None:
        local, self.local = self.local, None
        if local is not None:
            local.close()


def identity_of(ray: Any) -> object:
    """Tell one connection of this program to Ray from any other that it has had; None where there is none.

    A cluster gives each program that connects a number, and begins at one; and each of its machines a
    name that no other has.
    """
    with suppress(Exception):  # another thread may be in the middle of ray.shutdown()
        if ray.is_initialized():
            context = ray.get_runtime_context()
            return context.get_node_id(), context.get_job_id()
    return None


def refuse_forked() -> None:
    """Refuse to use in a forked child what only its parent is connected to."""
    if _forked:
        message = (
            "this shared state cannot be used in a forked process: the threads that connect it to Ray stayed in the "
            "parent. Use it there."
        )
        raise ForkedPool(message)


def _refuse_client(ray: Any, address: str | None) -> None:
    """Refuse Ray's client: behind it the program is no part of the cluster, and hears of no actor's end."""
    client: Any = sys.modules.get("ray.util.client")
    if ray.is_initialized():
        if client is None or not client.ray.is_connected():
            return  # and another address is refused by what there is
        given = "the program is connected through Ray's client (ray://), which"
    else:
        named = address or os.environ.get("RAY_ADDRESS") or ""
        if not named.startswith("ray://"):
            return
        given = f"{'address=' if address else 'RAY_ADDRESS='}{named!r} is for Ray's client, which"
    message = (
        f'{given} backend="ray" cannot use: nobody tells a client that an actor has died. Run the program on a machine '
        'of the cluster (ray job submit), and give the address that ray start shows there: host:6379, or "auto".'
    )
    raise Unsupported(message)


def _import() -> Any:
    try:
        return import_module("ray")
    except ImportError as error:
        message = 'backend="ray" needs the package ray: pip install "workpool[ray]".'
        raise Unsupported(message) from error


def _after_fork() -> None:
    global _forked, _lock  # noqa: PLW0603 - the child's alone
    _lock = Lock()  # a thread that is not here may have held it
    ray: Any = sys.modules.get("ray")
    _forked = ray is not None and ray.is_initialized()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
