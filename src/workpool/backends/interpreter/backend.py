"""What the interpreter backend can keep, and where it is to be had."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from workpool._compat import WINDOWS, has_interpreters
from workpool.backends.base import Capabilities
from workpool.backends.process.backend import PipedBackend, refuse_at_import
from workpool.backends.process.cpus import usable_cpus
from workpool.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.backends.interpreter.worker import InterpreterWorker
    from workpool.ipc.depot import Depot
    from workpool.scheduling.scheduler import Scheduler
    from workpool.situation import Setup

__all__ = ["InterpreterBackend"]


class InterpreterBackend(PipedBackend):
    """Makes workers that are interpreters of this process."""

    far = "an interpreter"
    capabilities = Capabilities(
        name="interpreter",
        scope="process",
        time_limit=True,
        ends_tasks=False,
        reports=True,
    )

    def __init__(self, *, pool: str, setup: Setup, settings: Any) -> None:
        _refuse_where_there_are_none()
        refuse_at_import(pool)
        super().__init__(pool=pool, setup=setup, settings=settings)
        self.default_workers = usable_cpus()
        from workpool.backends.interpreter import strays
        from workpool.backends.interpreter.worker import InterpreterWorker

        # Not in the thread of a worker: a fork meanwhile would leave the child a module half loaded.
        import_module("concurrent.interpreters")
        strays.see_to_the_end()
        self._make_worker = InterpreterWorker
        self._prepare()

    def _lender(self) -> Callable[[int], Depot]:
        from workpool.ipc.loans import Lender

        return Lender

    def make_worker(self, scheduler: Scheduler, index: int) -> InterpreterWorker:
        """Make the worker of that index."""
        return self._make_worker(self, scheduler, index)

    def describe(self) -> str:
        """Say nothing: there is nothing to choose."""
        return ""


def _refuse_where_there_are_none() -> None:
    if not has_interpreters():
        have = ".".join(map(str, sys.version_info[:2]))
        message = (
            f'backend="interpreter" needs Python 3.14 or newer (concurrent.interpreters); this is {have}. '
            'Use backend="process": workers are isolated from each other there as well.'
        )
        raise Unsupported(message)
    if WINDOWS:
        message = (
            'backend="interpreter" needs POSIX pipes, which Windows has not. Use backend="thread".'
        )
        raise Unsupported(message)
