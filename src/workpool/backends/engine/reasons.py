"""Why tasks of an engine fail for what befell their worker: each error in its words, and whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workpool.errors import (
    InitializerFailed,
    TimeLimitExceeded,
    WorkerLost,
    WorkerStartFailed,
    could_not_begin,
)
from workpool.ipc import pickling
from workpool.scheduling.worker import describe, describe_item, not_affected
from workpool.task import Task

if TYPE_CHECKING:
    from workpool.backends.engine.slots import Slot

__all__ = [
    "could_not_run",
    "initializer_died",
    "initializer_failed",
    "killed",
    "lost",
    "name_of",
    "overran",
    "starts_failed",
]


def could_not_run(engine: str, pool: str, error: BaseException, needed: str) -> WorkerStartFailed:
    """Say that an order was not run for a fault of the engine's, or of what its workers lack."""
    refusal = WorkerStartFailed(
        f"{engine} could not run an order of {pool}: {type(error).__name__}: {error}. Its workers need {needed}."
    )
    refusal.__cause__ = error
    return refusal


def name_of(unit: Any, offset: int = 0) -> str:
    """Name a unit for messages, a chunk by one of its items."""
    return describe(unit) if unit.__class__ is Task else describe_item(unit, offset)


def lost(slot: Slot, unit: Any, why: str, exitcode: int | None) -> WorkerLost:
    """Tell that a unit's worker died while it ran."""
    name = name_of(unit)
    if unit.__class__ is not Task and unit.size > 1:
        name = f"{name}, with {unit.size - 1} short ones that travelled with it"
    return WorkerLost(
        f"worker {slot.index} of {slot.scheduler.name} died of {why} while it ran {name}. {not_affected(unit)}",
        task=unit._name if unit.__class__ is Task else name,
        worker=slot.index,
        exitcode=exitcode,
    )


def killed(slot: Slot, unit: Any) -> WorkerLost:
    """Tell that a unit was running when its pool was killed."""
    return WorkerLost(
        f"{name_of(unit)} was running when {slot.scheduler.name} was killed.",
        task=unit._name if unit.__class__ is Task else "",
        worker=slot.index,
    )


def overran(unit: Any, limit: float) -> TimeLimitExceeded:
    """Tell that a unit ran past its time limit."""
    name = name_of(unit)
    return TimeLimitExceeded(
        f"{name} ran longer than its time limit of {limit} s; its worker was ended and replaced.",
        time_limit=limit,
        task=unit._name if unit.__class__ is Task else name,
    )


def initializer_failed(slot: Slot, data: bytes) -> InitializerFailed:
    """Make the error that all tasks of a pool get whose workers cannot begin."""
    return could_not_begin(slot.scheduler.name, slot.index, pickling.load_error_or_stand_in(data))


def initializer_died(slot: Slot, why: str) -> InitializerFailed:
    """Tell that a worker ended while it set itself up."""
    return InitializerFailed(
        f"worker {slot.index} of {slot.scheduler.name} died of {why} in its initializer or worker_context; "
        "the pool takes no more tasks."
    )


def starts_failed(slot: Slot, times: int, why: str) -> WorkerStartFailed:
    """Tell that so many starts in a row have failed."""
    return WorkerStartFailed(
        f"worker {slot.index} of {slot.scheduler.name} died at each of its last {times} starts, "
        f"the last time of {why}; the pool takes no more tasks."
    )
