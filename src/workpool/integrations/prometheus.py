"""Metrics of pools for Prometheus: a collector for the registry of ``prometheus_client``.

::

    from prometheus_client import REGISTRY
    from workpool.integrations.prometheus import PoolCollector

    REGISTRY.register(PoolCollector(pool))

Each scrape takes one snapshot of each pool (``Pool.stats()``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from workpool.integrations.measures import MEASURES, Watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    import workpool
    from workpool.integrations.measures import Measure

__all__ = ["PoolCollector"]


class PoolCollector(Collector):
    """Tells a registry of pools; one collector is enough for all.

    Parameters
    ----------
    *pools : Pool
        The pools to look at, told apart by their names. None is kept open for it.
    """

    def __init__(self, *pools: workpool.Pool) -> None:
        self._watched = Watched(pools)

    def add(self, pool: workpool.Pool) -> None:
        """Look at one pool more.

        Parameters
        ----------
        pool : Pool
            It must have a name of its own: ``Pool(name=...)``.
        """
        self._watched.add(pool)

    def describe(self) -> Iterator[Metric]:
        """Name the metrics, without any sample."""
        for measure in MEASURES:
            yield _family(measure, ())

    def collect(self) -> Iterator[Metric]:
        """Give the metrics of all pools, as they are now."""
        snapshots = self._watched.stats()
        for measure in MEASURES:
            samples = [
                (value, {"pool": name, **labels})
                for name, stats in snapshots
                for value, labels in measure.read(stats)
            ]
            labels = tuple(samples[0][1]) if samples else ()
            family = _family(measure, labels)
            for value, by_label in samples:
                family.add_metric([by_label[label] for label in labels], value)
            yield family


def _family(measure: Measure, labels: tuple[str, ...]) -> CounterMetricFamily | GaugeMetricFamily:
    name = f"workpool_{measure.name}" + ("_seconds" if measure.unit == "s" else "")
    kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
    return kind(name, measure.help, labels=labels)
