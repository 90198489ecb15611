"""The clusters that a run of the tests shares: to start one for each test would take hours."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from tests.leaks import STANDING

__all__ = ["shared_clusters", "shared_settings"]

_settings: dict[str, dict[str, Any]] = {}  # of pools, by the backend that has a cluster now


def shared_settings(backend: str) -> dict[str, Any]:
    """Give what a pool needs to use the cluster of its kind."""
    return _settings.get(backend, {})


@contextmanager
def shared_clusters(*backends: str) -> Generator[None]:
    """Have a cluster for each of these backends that is one of engines."""
    with ExitStack() as clusters:
        if "dask" in backends:
            from workpool.backends.dask.local import LocalCluster

            cluster = clusters.enter_context(closing(LocalCluster(2)))
            STANDING.add(cluster.pid)
            _settings["dask"] = {"address": cluster.address, "exclusive": True}
            clusters.callback(_settings.pop, "dask")
        yield
