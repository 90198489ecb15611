"""Machines of a cluster, each played by processes of its own, started as users start them: by the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.leaks import STANDING
from tests.support.gates import DEADLINE
from tests.support.queues import until

__all__ = ["DaskNodes", "dask_nodes", "node_here", "ray_node"]

ROOT = Path(__file__).parents[2]
NODE = "WORKPOOL_TEST_NODE"


def node_here() -> str:
    """Tell which of the machines this runs on; for tasks."""
    ray: Any = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        return str(ray.get_runtime_context().get_node_id())
    return os.environ.get(NODE, "the program")


@contextmanager
def ray_node(address: str, **settings: Any) -> Generator[Callable[[], None]]:
    """Have one machine more in a Ray cluster; gives what ends it, as when its power fails."""
    ray: Any = import_module("ray")

    def machines() -> int:
        return sum(node["Alive"] for node in ray.nodes())

    before = machines()
    command = "from ray.scripts.scripts import main; main()"
    options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    process = subprocess.Popen(
        [sys.executable, "-c", command, "start", f"--address={address}", "--block", *options],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    STANDING.add(process.pid)

    def end() -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    try:
        until(lambda: machines() > before or process.poll() is not None)
        assert machines() > before, "ray start has ended"
        yield end
    finally:
        end()


class DaskNodes:
    """A scheduler, and workers that come and go; each ends with all that it has started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._file = folder / "scheduler.json"
        self._start("scheduler", "--port", "0")
        until(self._file.exists)

    @property
    def settings(self) -> dict[str, Any]:
        """What makes a pool one of this cluster: ``Pool(**nodes.settings)``."""
        address: str = json.loads(self._file.read_text())["address"]
        return {"backend": "dask", "address": address}

    def start(self, name: str) -> None:
        """Have a machine with one worker, which has one of what is named like the machine."""
        self._start("worker", "--nthreads", "1", "--resources", f"{name}=1", name=name)

    def kill(self, name: str) -> None:
        """Have a machine be gone, with all that runs there, as when its power fails."""
        process = self._processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def until_there(self, count: int) -> None:
        """Wait until the scheduler knows of so many machines, neither more nor fewer."""
        distributed: Any = import_module("distributed")
        address = self.settings["address"]
        with distributed.Client(address, set_as_default=False, timeout=DEADLINE) as client:
            until(lambda: len(client.nthreads()) == count)

    def close(self) -> None:
        """End them all."""
        for name in list(self._processes):
            self.kill(name)

    def _start(self, what: str, *more: str, name: str = "scheduler") -> None:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--host", "127.0.0.1"]
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--no-dashboard", "--scheduler-file", str(self._file), *more],
                cwd=self._folder,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
                    "TMPDIR": str(self._folder),
                    NODE: name,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        STANDING.add(process.pid)
        self._processes[name] = process


@contextmanager
def dask_nodes(folder: Path, *names: str) -> Generator[DaskNodes]:
    """Have a cluster of machines with these names."""
    with ExitStack() as ends:
        nodes = DaskNodes(folder)
        ends.callback(nodes.close)
        for name in names:
            nodes.start(name)
        nodes.until_there(len(names))
        yield nodes
