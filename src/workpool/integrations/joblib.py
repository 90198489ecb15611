"""joblib's loops on workpool's workers: ``joblib.parallel_config("workpool")``.

To import this module is to register the backend; joblib has no other way to learn of it::

    import workpool.integrations.joblib

    with joblib.parallel_config("workpool", n_jobs=4):
        joblib.Parallel()(joblib.delayed(work)(n) for n in range(100))

A pool of worker processes is made for each number of jobs (and of inner threads) and kept
for the loops to come, so that what a worker has imported is imported once; :func:`close`
ends those that nobody uses. ``parallel_config("workpool", pool=pool)`` uses a pool of yours instead.

joblib batches small calls by itself; here each batch is a task.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    register_parallel_backend,  # pyright: ignore[reportUnknownVariableType] - joblib has no types
)

import workpool
from workpool._compat import Lock, across_forks

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WorkpoolBackend", "close"]


class _Kept:
    """A pool that is kept for the next loop, and how many use it now."""

    __slots__ = ("pool", "users")

    def __init__(self, pool: workpool.Pool) -> None:
        self.pool = pool
        self.users = 0


_lock = across_forks(Lock())  # guards _kept and the users in it
# By number of workers, and of the threads that numeric libraries may start in each.
_kept: dict[tuple[int, int | None], _Kept] = {}


def close() -> None:
    """End the pools that are kept for the next loop and not in use."""
    with _lock:
        idle = [_kept.pop(kind).pool for kind in list(_kept) if not _kept[kind].users]
    for pool in idle:
        pool.shutdown()


def _take(workers: int, threads: int | None) -> _Kept:
    """Give a pool with so many workers, and end those of other kinds that nobody uses."""
    kind = workers, threads
    with _lock:
        if kind not in _kept:
            pool = workpool.Pool(
                workers,
                backend="process",
                blas_threads="auto" if threads is None else threads,
                name="joblib",
            )
            _kept[kind] = _Kept(pool)
        mine = _kept[kind]
        mine.users += 1
        others = [other for other, kept in _kept.items() if not kept.users]
        idle = [_kept.pop(other).pool for other in others]
    for pool in idle:
        pool.shutdown(wait=False)
    return mine


def _give_back(kept: _Kept) -> None:
    with _lock:
        kept.users -= 1


class WorkpoolBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """joblib's view of a pool; made by joblib when a loop asks for ``"workpool"``.

    Parameters
    ----------
    pool : Pool or None
        The pool whose workers run the loops; it stays open. ``None``: one of processes
        that is made here, and kept for the loops to come.
    nesting_level : int or None
        How many loops are around this one; joblib counts.
    inner_max_num_threads : int or None
        How many threads numeric libraries may start in each worker; ``None``: its share
        of the cores. A pool that was given has its own ``blas_threads``.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self,
        pool: workpool.Pool | None = None,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - the same
            nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads
        )
        if pool is not None and not isinstance(cast("object", pool), workpool.Pool):
            message = f"pool is a workpool.Pool, or None for one of processes; got {pool!r}"
            raise TypeError(message)
        self._given = pool
        # All loops of one parallel_config share this object, and may overlap: the pools that
        # they took, the latest last, are given back when none is left.
        self._taken: list[_Kept] = []
        self._loops = 0
        self._tasks_lock = Lock()  # guards _tasks
        self._tasks: set[workpool.Task[Any]] = set()  # of the loop that runs, not done
        # With threads all workers see the same objects: joblib asks this of require="sharedmem".
        self.uses_threads = self.supports_sharedmem = pool is not None and pool.backend in {
            "thread",
            "inline",
        }

    # ---------------------------------------------------------------- how many workers

    def effective_n_jobs(  # pyright: ignore[reportIncompatibleMethodOverride] - less is asked for than may be given
        self, n_jobs: int | None
    ) -> int:
        """Say how many calls can run side by side; -1 are all that there are."""
        if n_jobs == 0:
            message = (
                "n_jobs == 0 in Parallel has no meaning; give a number of workers, or -1 for all"
            )
            raise ValueError(message)
        if n_jobs is None:
            return 1
        if self._given is not None:
            there_are = self._given.max_workers
        else:
            from workpool.backends.process.cpus import usable_cpus

            there_are = usable_cpus()
        if n_jobs < 0:
            return max(there_are + 1 + n_jobs, 1)
        return min(n_jobs, there_are) if self._given is not None else n_jobs

    def configure(  # pyright: ignore[reportIncompatibleMethodOverride] - less is asked for than may be given
        self, n_jobs: int = 1, parallel: Any = None, **_: Any
    ) -> int:
        """Get ready for a loop; gives the number of workers.

        What else joblib says concerns its own way of mapping large arrays into memory.
        """
        workers = self.effective_n_jobs(n_jobs)
        threads: int | None = cast(
            "Any", self
        ).inner_max_num_threads  # joblib sets it after __init__
        if self._given is not None and threads is not None:
            message = (
                f"inner_max_num_threads={threads} comes too late for a pool that is there already; "
                "make it with Pool(..., blas_threads=...)"
            )
            raise ValueError(message)
        if workers == 1 and self._given is None:
            alone = SequentialBackend(nesting_level=self.nesting_level)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - no types
            raise FallbackToBackend(alone)
        self.parallel = parallel
        self._loops += 1
        if self._given is None and not (
            self._taken and self._taken[-1].pool.max_workers == workers
        ):
            self._taken.append(_take(workers, threads))
        return workers

    def terminate(self) -> None:
        """Let go of the pool, when the last loop is over."""
        self._loops -= 1
        if self._loops <= 0:
            self._loops = 0
            taken, self._taken = self._taken, []
            for kept in taken:
                _give_back(kept)
        self.reset_batch_stats()

    # ------------------------------------------------------------------------ batches

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None
    ) -> workpool.Task[Any]:
        """Make a task of a batch."""
        pool = self._given if self._given is not None else self._taken[-1].pool
        task = pool.submit(_run_batch, func)
        with self._tasks_lock:
            self._tasks.add(task)
        task.add_done_callback(self._forget)
        if callback is not None:
            task.add_done_callback(callback)
        return task

    def retrieve_result_callback(self, out: workpool.Task[Any]) -> Any:
        """Give the results of a batch, or raise its error."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what the loop still has: a call has failed, or the caller gave up; the pool stays ready.

        Processes that run a call of this loop are ended and replaced. Other tasks
        of a pool that was given are not touched.
        """
        del ensure_ready
        with self._tasks_lock:
            tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if not self.uses_threads:
            for task in tasks:
                if task.running():
                    task.cancel(kill=True)

    def _forget(self, task: Any) -> None:
        with self._tasks_lock:
            self._tasks.discard(task)


def _run_batch(batch: Callable[[], Any]) -> Any:
    """Run a batch of joblib's calls, in a worker."""
    return batch()


def _in_child() -> None:
    """In a forked child: the workers of the pools that are kept are the parent's; the next loop makes a pool."""
    _kept.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

register_parallel_backend("workpool", WorkpoolBackend)
