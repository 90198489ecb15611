"""The clusters of these tests: started when the first test asks for one, and shared."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from tests.support.engines import shared_clusters, shared_settings
from tests.support.gates import Gate
from workpool import Pool

MakePool = Callable[..., Pool]


@pytest.fixture(scope="session")
def ray_package() -> None:
    """Skip where Ray is not installed."""
    pytest.importorskip("ray")


@pytest.fixture(scope="session")
def ray_settings(ray_package: None) -> Generator[dict[str, Any]]:
    """Give what makes a pool one of the Ray that is there for tests: ``Pool(2, **ray_settings)``."""
    with shared_clusters("ray"):
        yield {"backend": "ray", **shared_settings("ray")}


@pytest.fixture(scope="session")
def dask_settings() -> Generator[dict[str, Any]]:
    """Give what makes a pool one of the Dask that is there for tests, which it has to itself."""
    pytest.importorskip("distributed")
    with shared_clusters("dask"):
        yield {"backend": "dask", **shared_settings("dask")}


@pytest.fixture
def shared(dask_settings: dict[str, Any]) -> dict[str, Any]:
    """Give what makes a pool one among others on the Dask that is there for tests."""
    return {**dask_settings, "exclusive": False}


@pytest.fixture
def make_pool(ray_settings: dict[str, Any]) -> Generator[MakePool]:
    """Give a maker of pools on the Ray that is there for tests; they end with the test."""
    pools: list[Pool] = []

    def make(workers: int, **settings: Any) -> Pool:
        pools.append(Pool(workers, **{**ray_settings, **settings}))
        return pools[-1]

    yield make
    for pool in pools:
        pool.kill()
        pool.shutdown()


@pytest.fixture
def gate(make_pool: MakePool) -> Generator[Gate]:
    """Give a gate, which is opened before the pools are ended."""
    with Gate() as made:
        yield made
