"""Metrics: what Prometheus scrapes and OpenTelemetry collects is what stats() tells."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest

from tests.support import tasks
from tests.support.gates import DEADLINE
from workpool import Pool
from workpool.integrations.opentelemetry import PoolInstruments
from workpool.integrations.prometheus import PoolCollector


def worked(name: str) -> Pool:
    """Make a pool in which something has happened."""
    pool = Pool(1, name=name)
    for n in range(5):
        pool.submit(tasks.fail_if_odd, n)
    pool.options(retries=1, retry_on=LookupError).submit(tasks.fail_until, 2)
    list(pool.map(tasks.double, range(10)))
    pool.join(DEADLINE)
    return pool


def test_a_scrape_tells_of_each_pool() -> None:
    """The registry's samples are the numbers of stats(), by pool."""
    with worked("first") as first, Pool(2, name="second") as second:
        registry = CollectorRegistry()
        collector = PoolCollector(first)
        registry.register(collector)
        collector.add(second)
        collector.add(first)  # twice is once
        value = registry.get_sample_value
        one = {"pool": "first"}
        assert value("workpool_tasks_total", {**one, "outcome": "done"}) == 14
        assert value("workpool_tasks_total", {**one, "outcome": "failed"}) == 2
        assert value("workpool_tasks_total", {"pool": "second", "outcome": "done"}) == 0
        assert value("workpool_retries_total", one) == 1
        assert value("workpool_queued", one) == value("workpool_running", one) == 0
        assert value("workpool_workers", one) == 1
        assert value("workpool_workers_limit", {"pool": "second"}) == 2
        stats = first.stats()
        busy = value("workpool_worker_busy_seconds_total", {**one, "worker": "0"})
        assert busy == stats.busy[0] > 0
        for quantile, percent in (("0.5", 50), ("0.99", 99)):
            labels = {**one, "quantile": quantile}
            assert value("workpool_run_time_seconds", labels) == stats.run_time[percent]
        text = generate_latest(registry).decode()
        assert text.count('workpool_tasks_total{outcome="done",pool="first"}') == 1


def test_a_registry_without_pools_is_empty() -> None:
    """A collector can be there before its pools: its metrics have names and no samples."""
    registry = CollectorRegistry(auto_describe=True)
    registry.register(PoolCollector())
    assert "# TYPE workpool_tasks_total counter" in generate_latest(registry).decode()
    assert all(metric.samples == [] for metric in registry.collect())


def test_a_watched_pool_is_let_go() -> None:
    """To be looked at keeps no pool alive, and one that is gone is not told of."""
    pool = worked("gone")
    registry = CollectorRegistry()
    registry.register(PoolCollector(pool))
    gone = weakref.ref(pool)
    pool.shutdown()
    del pool
    gc.collect()
    assert gone() is None
    assert all(metric.samples == [] for metric in registry.collect())


def points_of(reader: InMemoryMetricReader) -> dict[str, dict[tuple[Any, ...], Any]]:
    """Collect, and give values by metric and attributes."""
    data: Any = reader.get_metrics_data()
    return {
        metric.name: {
            tuple(sorted(point.attributes.items())): point.value
            for point in metric.data.data_points
        }
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_instruments_tell_of_each_pool() -> None:
    """What the SDK collects are the numbers of stats(), by pool."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    with worked("first") as first, Pool(2, name="second") as second:
        instruments = PoolInstruments(first, meter_provider=provider)
        instruments.add(second)
        points = points_of(reader)
        one = ("workpool.pool", "first")
        assert points["workpool.tasks"][("workpool.outcome", "done"), one] == 14
        assert points["workpool.tasks"][("workpool.outcome", "failed"), one] == 2
        assert points["workpool.retries"][one,] == 1
        assert points["workpool.workers_limit"][("workpool.pool", "second"),] == 2
        assert (
            points["workpool.worker_busy"][one, ("workpool.worker", "0")] == first.stats().busy[0]
        )
        assert points["workpool.run_time"][one, ("workpool.quantile", "0.99")] > 0
    provider.shutdown()
