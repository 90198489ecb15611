"""The clusters that a run of the tests shares: to start one for each test would take hours."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from typing import Any

from tests.leaks import STANDING
from workpool import Pool

__all__ = ["BOX", "shared_clusters", "shared_settings"]

BOX = "box"  # a resource of which Ray has one

_settings: dict[str, dict[str, Any]] = {}  # of pools, by the backend that has a cluster now


def shared_settings(backend: str) -> dict[str, Any]:
    """Give what a pool needs to use the cluster of its kind."""
    return _settings.get(backend, {})


@contextmanager
def shared_clusters(*backends: str) -> Generator[None]:
    """Have a cluster for each of these backends that is one of engines, unless there is one."""
    with ExitStack() as clusters:
        for backend, start in (("dask", _start_dask), ("ray", _start_ray)):
            if backend in backends and backend not in _settings:
                _settings[backend] = start(clusters)
                clusters.callback(_settings.pop, backend)
        yield


def _start_dask(clusters: ExitStack) -> dict[str, Any]:
    from workpool.backends.dask.local import LocalCluster

    cluster = clusters.enter_context(closing(LocalCluster(3)))
    STANDING.add(cluster.pid)
    return {"address": cluster.address, "exclusive": True}


def _start_ray(clusters: ExitStack) -> dict[str, Any]:
    from workpool.backends.ray.local import LocalRay

    # Some tests have several pools at once, and each of their workers a CPU of Ray's, as it counts them.
    started = LocalRay(8, object_store_memory=100 << 20, resources={BOX: 1})
    local = clusters.enter_context(closing(started))
    STANDING.add(local.pid)
    local.connect()  # once, for all pools: they use what they find
    clusters.callback(import_module("ray").shutdown)
    # So that programs of the tests use it, too, which would take ten seconds to start one of their own.
    os.environ["RAY_ADDRESS"] = local.address
    clusters.callback(os.environ.pop, "RAY_ADDRESS")
    with Pool(2, backend="ray") as first:  # Ray's threads and sockets stay, once there
        first.submit(os.getpid).result()
        first.counter().add()
    return {"address": local.address}
