"""What a backend is: what it can keep, and how it makes a worker.

A new backend is one class of this protocol and one line in ``find``. Everything
else (queue, chunks, retries, join, shutdown) is the scheduler's.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

from workpool.errors import UnknownBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.scheduling.scheduler import Scheduler
    from workpool.scheduling.worker import Worker
    from workpool.situation import Setup
    from workpool.task import Task

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendName",
    "Capabilities",
    "Scope",
    "StartMethod",
    "capabilities_of",
    "find",
]

BackendName = Literal["thread", "process", "interpreter", "dask", "ray", "inline"]
StartMethod = Literal["forkserver", "spawn", "fork"]
Scope = Literal["thread", "process", "engine"]  # where shared state lives

BACKENDS: dict[str, tuple[str, str]] = {
    "thread": ("workpool.backends.thread", "ThreadBackend"),
    "process": ("workpool.backends.process", "ProcessBackend"),
    "interpreter": ("workpool.backends.interpreter", "InterpreterBackend"),
    "dask": ("workpool.backends.dask", "DaskBackend"),
    "ray": ("workpool.backends.ray", "RayBackend"),
    "inline": ("workpool.backends.inline", "InlineBackend"),
}


class Capabilities(NamedTuple):
    """What a backend can keep; what it cannot is refused at the call."""

    name: str
    scope: Scope  # where shared state of its tasks must live
    time_limit: bool  # a task past its limit is given up and its worker replaced
    ends_tasks: bool  # what ran past its limit is truly ended, also in C code
    reports: bool = False  # what its tasks log and print can be brought to the caller
    warns_tasks: bool = (
        False  # a task past its limit can be told so by an exception, before it is ended
    )
    start_methods: tuple[str, ...] = ()
    most_workers: int | None = None  # what max_workers comes down to; None: as many as asked for
    no_time_limit: str = ""  # why there is none
    resources: bool = False  # a task may ask for resources by name
    recycles: bool = True  # max_tasks_per_worker is kept
    settings: frozenset[str] = frozenset()  # of the pool, beside those that all backends have


def capabilities_of(kind: type[Backend], settings: Any) -> Capabilities:
    """Tell what a backend can keep with these settings; most can with any the same."""
    with_these: Callable[[Any], Capabilities] | None = getattr(kind, "capabilities_with", None)
    return kind.capabilities if with_these is None else with_these(settings)


class Backend(Protocol):
    """How tasks are run: makes the workers of one pool."""

    capabilities: Capabilities  # with these settings; see capabilities_of
    default_workers: int
    # Prepares a task for its journey, in the thread that submits.
    pack: Callable[[Task[Any]], None] | None

    def __init__(self, *, pool: str, setup: Setup, settings: Any) -> None: ...

    def make_worker(self, scheduler: Scheduler, index: int) -> Worker:
        """Make the worker of that index; the scheduler starts it."""
        ...

    def describe(self) -> str:
        """Say what is in force, for the pool's repr; empty when there is nothing to say."""
        ...

    def close(self) -> None:
        """Give back what the workers shared; called once, when the last has left."""
        ...


def find(name: str) -> type[Backend]:
    """Load the backend of that name."""
    home = BACKENDS.get(name) if isinstance(cast("object", name), str) else None
    if home is None:
        import difflib

        near = difflib.get_close_matches(str(name), BACKENDS, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        message = f"unknown backend {name!r}. {hint}There are: {', '.join(map(repr, BACKENDS))}."
        raise UnknownBackend(message)
    found: type[Backend] = getattr(import_module(home[0]), home[1])
    return found
