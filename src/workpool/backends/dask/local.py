"""A Dask cluster on this machine for a pool that names none; see :mod:`workpool.backends.engine.local`."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from workpool.backends.engine.local import LocalEngine, folder_for, tell_address, wait_for_the_end

__all__ = ["LocalCluster"]


class LocalCluster(LocalEngine):
    """The process that has the cluster, as seen from the program."""

    def __init__(self, workers: int) -> None:
        super().__init__("a Dask cluster", __name__, str(workers))


def main(workers: int, descriptor: int) -> None:
    """Have a cluster until standard input ends."""
    dask: Any = import_module("dask")
    distributed: Any = import_module("distributed")
    quiet: dict[str, Any] = {
        "distributed.scheduler.dashboard.status.task-stream-length": 0,
        # A cluster ends the nanny of a worker that is not there so long after one of its deaths, which may
        # be just when another has been killed by us and comes back.
        "distributed.deploy.lost-worker-timeout": "1000 days",
        "distributed.worker.daemon": False,  # a task may start processes of its own
    }
    with (
        folder_for("dask") as folder,
        dask.config.set({**quiet, "temporary-directory": folder}),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any port: None is the one that another cluster may have
            scheduler_kwargs={"dashboard": False},
            silence_logs=50,
        ) as cluster,
    ):
        tell_address(descriptor, cluster.scheduler_address)
        wait_for_the_end()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
