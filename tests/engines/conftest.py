"""The clusters of these tests: started when the first test asks for one, and shared."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.support.engines import shared_clusters, shared_settings


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
