"""Pools of engines that run on many machines: Ray's multiprocessing.Pool and Dask's executor, on this one."""

from __future__ import annotations

from typing import Any

from benchmarks.libraries.executors import Executor
from benchmarks.libraries.pools import PoolLike

# Where an engine applies on one machine; its start takes seconds.
_COMPARED = frozenset(
    {"submit", "map", "round-trip", "array-argument", "array-result", "array-map", "computing"}
)


class RayPool(PoolLike):
    """ray.util.multiprocessing.Pool on a local Ray."""

    name = "Ray's Pool"
    kind = "process"
    package = "ray"
    imports = "import ray.util.multiprocessing"
    start_method = "ray"
    only = _COMPARED

    def load(self) -> None:
        import ray
        from ray.util.multiprocessing import Pool

        self._ray = ray
        self._make = Pool

    def open(self, workers: int) -> None:
        self._ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        self.pool = self._make(workers)

    def close(self) -> None:
        super().close()
        self._ray.shutdown()


class DaskExecutor(Executor):
    """The executor of a Dask client with a local cluster of processes."""

    name = "Dask's executor"
    kind = "process"
    package = "distributed"
    imports = "import distributed"
    start_method = "spawn"
    only = _COMPARED
    client: Any

    def load(self) -> None:
        from distributed import Client, LocalCluster

        self._client, self._cluster = Client, LocalCluster

    def open(self, workers: int) -> None:
        self._local = self._cluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50
        )
        self.client = self._client(self._local)
        self.pool = self.client.get_executor(pure=False)

    def close(self) -> None:
        super().close()
        self.client.close()
        self._local.close()


LIBRARIES = [RayPool, DaskExecutor]
