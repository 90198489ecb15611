"""Metrics of pools for OpenTelemetry: observable instruments of its metrics API.

::

    from workpool.integrations.opentelemetry import PoolInstruments

    instruments = PoolInstruments(pool)

Each time the SDK collects, each pool is asked for one snapshot (``Pool.stats()``) a metric.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation, get_meter

import workpool
from workpool.integrations.measures import MEASURES, Watched

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.metrics import CallbackOptions, MeterProvider

    from workpool.integrations.measures import Measure

__all__ = ["PoolInstruments"]


class PoolInstruments:
    """Instruments that tell of pools; one set is enough for all.

    Parameters
    ----------
    *pools : Pool
        The pools to look at, told apart by the attribute ``workpool.pool``. None is
        kept open for it.
    meter_provider : MeterProvider or None
        Where the instruments belong; ``None`` is the program's.
    """

    def __init__(self, *pools: workpool.Pool, meter_provider: MeterProvider | None = None) -> None:
        self._watched = Watched(pools)
        meter = get_meter("workpool", workpool.__version__, meter_provider)
        for measure in MEASURES:
            create = (
                meter.create_observable_counter
                if measure.kind == "counter"
                else meter.create_observable_gauge
            )
            create(
                f"workpool.{measure.name}",
                callbacks=[partial(self._observe, measure)],
                unit=measure.unit,
                description=measure.help,
            )

    def add(self, pool: workpool.Pool) -> None:
        """Look at one pool more.

        Parameters
        ----------
        pool : Pool
            It must have a name of its own: ``Pool(name=...)``.
        """
        self._watched.add(pool)

    def _observe(self, measure: Measure, _: CallbackOptions) -> Iterable[Observation]:
        for name, stats in self._watched.stats():
            for value, labels in measure.read(stats):
                yield Observation(
                    value,
                    {"workpool.pool": name, **{f"workpool.{k}": v for k, v in labels.items()}},
                )
