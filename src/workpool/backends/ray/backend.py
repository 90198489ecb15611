"""What the Ray backend can keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from workpool.backends.base import Capabilities
from workpool.backends.engine.backend import EngineBackend
from workpool.backends.ray.engine import RayEngine

if TYPE_CHECKING:
    from workpool.situation import Setup

__all__ = ["RayBackend"]


class RayBackend(EngineBackend):
    """Makes workers that are actors of a Ray cluster."""

    capabilities = Capabilities(
        name="ray",
        scope="engine",
        time_limit=True,
        ends_tasks=True,
        resources=True,
        settings=frozenset({"address"}),
    )

    @override
    def make_engine(self, pool: str, setup: Setup, settings: Any) -> RayEngine:
        """Find or start Ray."""
        return RayEngine(pool, setup, settings)
