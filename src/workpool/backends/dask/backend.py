"""What the Dask backend can keep, on a cluster that others use as well and on one of the pool's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from workpool.backends.base import Capabilities
from workpool.backends.dask.connection import is_ours
from workpool.backends.dask.engine import DaskEngine
from workpool.backends.engine.backend import EngineBackend

if TYPE_CHECKING:
    from workpool.situation import Setup

__all__ = ["DaskBackend"]


class DaskBackend(EngineBackend):
    """Makes workers that are slots of a Dask cluster."""

    capabilities = Capabilities(
        name="dask",
        scope="engine",
        time_limit=True,
        ends_tasks=True,
        resources=True,
        recycles=False,
        settings=frozenset({"address", "client", "exclusive"}),
    )

    @classmethod
    def capabilities_with(cls, settings: Any) -> Capabilities:
        """Tell what can be kept on such a cluster."""
        if is_ours(settings):
            return cls.capabilities
        return cls.capabilities._replace(
            time_limit=False,
            ends_tasks=False,
            no_time_limit="the cluster's workers may run other people's tasks beside ours, and are not ended. "
            "On a cluster of your own say exclusive=True",
        )

    @override
    def make_engine(self, pool: str, setup: Setup, settings: Any) -> DaskEngine:
        """Find or start the cluster."""
        engine = DaskEngine(pool, setup, settings)
        self.capabilities = self.capabilities_with(settings)
        if engine.ends_tasks:
            # Two slots on one Dask worker would end each other's tasks.
            self.capabilities = self.capabilities._replace(most_workers=engine.slots)
        return engine
