"""What there is to measure: all libraries and all workloads.

Only the command knows these lists. A measurement loads the one adapter and the one
workload that it is about, so that what others need is not there already.
"""

from __future__ import annotations

from benchmarks.libraries import (
    bare,
    counters,
    engines,
    executors,
    interpreters,
    others,
    ours,
    pools,
    queues,
)
from benchmarks.libraries.base import Library
from benchmarks.workload import Workload
from benchmarks.workloads import (
    array_argument,
    array_map,
    array_result,
    busy_parent,
    computing,
    counting,
    deep_queue,
    importing,
    limiting,
    long_first,
    many_workers,
    mapping,
    mapping_tuned,
    queueing,
    retrying,
    round_trip,
    scaling,
    start,
    streaming,
    submit,
    submitters,
    uneven,
    waiting,
)

__all__ = ["LIBRARIES", "WORKLOADS"]

LIBRARIES: list[type[Library]] = [
    library
    for module in (ours, executors, interpreters, pools, others, engines, queues, counters, bare)
    for library in module.LIBRARIES
]

WORKLOADS: list[Workload] = [
    module.WORKLOAD
    for module in (
        submit,
        submitters,
        deep_queue,
        mapping,
        mapping_tuned,
        many_workers,
        round_trip,
        start,
        importing,
        array_argument,
        array_result,
        array_map,
        computing,
        scaling,
        waiting,
        uneven,
        long_first,
        busy_parent,
        streaming,
        limiting,
        retrying,
        queueing,
        counting,
    )
]
