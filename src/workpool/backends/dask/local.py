"""A Dask cluster on this machine, in a process of its own, for a pool that names no cluster.

The scheduler's and the nannies' threads are that process's, not the program's. It
ends when its standard input does: with the pool, or with the program, however that
ends; and its workers end with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from typing import Any

from workpool.errors import WorkerStartFailed

__all__ = ["LocalCluster"]


class LocalCluster:
    """The process that has the cluster, as seen from the program."""

    def __init__(self, workers: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this Python, on a module of ours
            [sys.executable, "-m", "workpool.backends.dask.local", str(workers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # What this program can import, its workers can.
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            },
            start_new_session=True,  # Ctrl-C is the program's; it ends the cluster by the pipe
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        if not self.address:
            self.close()
            message = (
                f"a Dask cluster on this machine could not be started (exit code {self._process.returncode}); "
                "its stderr says why. Pass address= of one that runs."
            )
            raise WorkerStartFailed(message)

    def close(self) -> None:
        """End the cluster, and wait until it has."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(timeout=20.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def main(workers: int) -> None:
    """Have a cluster until standard input ends."""
    dask: Any = import_module("dask")
    distributed: Any = import_module("distributed")
    quiet: dict[str, Any] = {
        "distributed.scheduler.dashboard.status.task-stream-length": 0,
        "distributed.worker.daemon": False,  # a task may start processes of its own
    }
    with (
        dask.config.set(quiet),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
    ):
        print(cluster.scheduler_address, flush=True)  # noqa: T201 - the program waits for it
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
