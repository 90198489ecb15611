"""What the process backend can keep, and how it pickles a call for its workers."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from workpool._compat import WINDOWS
from workpool.backends.base import Capabilities
from workpool.backends.process.cpus import usable_cpus
from workpool.backends.process.starts import Starts
from workpool.errors import NotPicklable, Unsupported
from workpool.ipc import keeper
from workpool.ipc.setups import pickle_setup

# Nothing else is loaded before the keeper has been started, which takes as long as the loading.
if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.backends.process.driver import ProcessWorker
    from workpool.ipc.depot import Depot
    from workpool.scheduling.scheduler import Scheduler
    from workpool.situation import Setup
    from workpool.task import Task

__all__ = ["PipedBackend", "ProcessBackend", "refuse_at_import"]


class PipedBackend:
    """What backends have in common whose workers are at the far end of pipes."""

    blas_threads: int | None = None
    start_method = ""
    far = "a process"  # what a worker is, for messages

    def __init__(self, *, pool: str, setup: Setup, settings: Any) -> None:
        self.pool = pool
        self.setup = setup
        self.settings = settings
        if settings.logs:
            from workpool import tasklog

            tasklog.name_tasks()
        if settings.reports:
            # Loaded here, as all of it is: see ``ipc/ahead.py``.
            from workpool.backends.process import hearing  # noqa: F401  # pyright: ignore[reportUnusedImport]
        self.reporting = (settings.logs, settings.capture) if settings.reports else None

    def _prepare(self) -> None:
        """Load what workers need, and open the depot of large arguments."""
        from workpool.ipc import depot, pickling

        pickle_setup(self.setup, self.pool, self.far)
        self._dump_call = pickling.dump_call
        self.starts = Starts()
        self.depot = depot.open_depot(
            self._lender()
        )  # of large arguments, for all workers of the pool
        self.dump = pickling.dumps if self.depot is None else self.depot.dump

    def _lender(self) -> Callable[[int], Depot] | None:
        """Give what makes the depot, where it is not the common one."""
        return None

    def pack(self, task: Task[Any]) -> None:
        """Pickle a task's call, in the thread that submits it; a failure is the task's."""
        call = task._call
        assert call is not None  # it has not run
        try:
            task._payload = self._dump_call(*call, "a task", dump=self.dump)
        except NotPicklable:
            # Once more, for the message: making the task's name at each submit would cost more.
            try:
                task._payload = self._dump_call(*call, f"a task ({task._name})", to=self.far)
            except NotPicklable as error:
                task._payload = error

    def asked_of_worker(self) -> dict[str, Any] | None:
        """Give what a worker that starts now is to report, at the levels that loggers have now."""
        if self.reporting is None:
            return None
        from workpool import tasklog

        logs, capture = self.reporting
        return {"levels": tasklog.levels() if logs else None, "capture": capture}

    def close(self) -> None:
        """Let go of the memory that large arguments lay in."""
        if self.depot is not None:
            self.depot.close()


class ProcessBackend(PipedBackend):
    """Makes workers that are processes."""

    capabilities = Capabilities(
        name="process",
        scope="process",
        time_limit=True,
        warns_tasks=True,
        ends_tasks=True,
        reports=True,
        start_methods=keeper.START_METHODS,
    )

    def __init__(self, *, pool: str, setup: Setup, settings: Any) -> None:
        if WINDOWS:
            message = (
                'backend="process" needs POSIX pipes, which Windows has not. Use backend="thread".'
            )
            raise Unsupported(message)
        refuse_at_import(pool)
        super().__init__(pool=pool, setup=setup, settings=settings)
        self.default_workers = cpus = usable_cpus()
        wanted = settings.blas_threads
        self.blas_threads: int | None = wanted
        if wanted == "auto":  # its share of the cores
            self.blas_threads = max(1, cpus // (settings.max_workers or cpus))
        self.start_method = settings.start_method or keeper.default_start_method()
        if self.start_method != "fork":
            keeper.keeper.warm()  # it gets ready while the pool is made and the first task submitted
        from workpool.backends.process.driver import ProcessWorker

        self._make_worker = ProcessWorker
        self._prepare()
        self._load_ahead()

    def _load_ahead(self) -> None:
        from workpool.ipc.ahead import load_ahead

        of_shares = () if self.blas_threads is None else ("workpool.ipc.blas",)
        # What a worker loads when it is at rest is loaded here, too, before the fork: see there.
        parts = ("workpool.ipc.worker", "traceback", "workpool.ipc.stand_ins")
        of_forks = parts if self.start_method == "fork" else ()
        load_ahead(*of_shares, *of_forks)

    def make_worker(self, scheduler: Scheduler, index: int) -> ProcessWorker:
        """Make the worker of that index."""
        return self._make_worker(self, scheduler, index)

    def describe(self) -> str:
        """Say how processes start, and of how many CPUs this process may use."""
        return (
            f"start_method={self.start_method!r}, {usable_cpus()} of {os.cpu_count()} CPUs usable, "
            f"blas_threads={self.blas_threads}"
        )


def refuse_at_import(pool: str) -> None:
    """Refuse a pool that a worker would make only because it imports the program that made its own."""
    process = sys.modules.get("multiprocessing.process")
    main = sys.modules.get("workpool.ipc.mainmodule")
    inheriting = process is not None and getattr(process.current_process(), "_inheriting", False)
    if inheriting or (main is not None and main.being_imported()):
        message = (
            f"{pool} is made at the import of the program, which each worker imports in turn. Put what is "
            'to run once, and the pool with it, under: if __name__ == "__main__":'
        )
        raise RuntimeError(message)
