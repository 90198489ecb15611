"""What there is to measure: all libraries and all workloads.

Only the command knows these lists. A measurement loads the one adapter and the one
workload that it is about, so that what others need is not there already.
"""

from __future__ import annotations

from benchmarks.libraries import bare, counters, executors, others, ours, pools, queues
from benchmarks.libraries.base import Library
from benchmarks.workload import Workload
from benchmarks.workloads import (
    counting,
    importing,
    limiting,
    long_first,
    mapping,
    mapping_tuned,
    queueing,
    retrying,
    round_trip,
    start,
    streaming,
    submit,
    uneven,
)

__all__ = ["LIBRARIES", "WORKLOADS"]

LIBRARIES: list[type[Library]] = [
    library
    for module in (ours, executors, pools, others, queues, counters, bare)
    for library in module.LIBRARIES
]

WORKLOADS: list[Workload] = [
    module.WORKLOAD
    for module in (
        submit,
        mapping,
        mapping_tuned,
        round_trip,
        start,
        importing,
        uneven,
        long_first,
        streaming,
        limiting,
        retrying,
        queueing,
        counting,
    )
]
