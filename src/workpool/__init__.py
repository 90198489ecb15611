"""One Pool over threads and processes, one queue with task_done/join, shared state that is safe.

Names are loaded when first used, so that ``import workpool`` costs next to
nothing and loads no multiprocessing, asyncio, numpy or engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workpool._compat import ShutDown as ShutDown
    from workpool.backends.base import BackendName as BackendName
    from workpool.errors import BrokenWorker as BrokenWorker
    from workpool.errors import ForkedPool as ForkedPool
    from workpool.errors import GroupClosed as GroupClosed
    from workpool.errors import InitializerFailed as InitializerFailed
    from workpool.errors import JoinTimeout as JoinTimeout
    from workpool.errors import JournalError as JournalError
    from workpool.errors import JournalInUse as JournalInUse
    from workpool.errors import JournalMismatch as JournalMismatch
    from workpool.errors import NotPicklable as NotPicklable
    from workpool.errors import PoolClosed as PoolClosed
    from workpool.errors import SharedStateLost as SharedStateLost
    from workpool.errors import TimeLimitExceeded as TimeLimitExceeded
    from workpool.errors import UnknownBackend as UnknownBackend
    from workpool.errors import Unsupported as Unsupported
    from workpool.errors import WorkerLost as WorkerLost
    from workpool.errors import WorkerStartFailed as WorkerStartFailed
    from workpool.errors import WorkerTraceback as WorkerTraceback
    from workpool.errors import WorkpoolError as WorkpoolError
    from workpool.errors import WouldDeadlock as WouldDeadlock
    from workpool.group import Group as Group
    from workpool.integrations.progress.snapshot import Progress as Progress
    from workpool.journal.settings import Journal as Journal
    from workpool.observe.stacks import WorkerStack as WorkerStack
    from workpool.observe.stats import Stats as Stats
    from workpool.pool import Options as Options
    from workpool.pool import Pool as Pool
    from workpool.queues import LifoQueue as LifoQueue
    from workpool.queues import PriorityQueue as PriorityQueue
    from workpool.queues import Queue as Queue
    from workpool.results import Results as Results
    from workpool.shared import Array as Array
    from workpool.shared import Counter as Counter
    from workpool.shared import Event as Event
    from workpool.shared import Lock as Lock
    from workpool.shared import RateLimiter as RateLimiter
    from workpool.shared import Semaphore as Semaphore
    from workpool.shared import Shared as Shared
    from workpool.situation import Current as Current
    from workpool.situation import current as current
    from workpool.task import Task as Task

__version__ = "0.1.0"

_HOME = {
    "Array": "workpool.shared",
    "BackendName": "workpool.backends.base",
    "BrokenWorker": "workpool.errors",
    "Counter": "workpool.shared",
    "Current": "workpool.situation",
    "Event": "workpool.shared",
    "ForkedPool": "workpool.errors",
    "Group": "workpool.group",
    "GroupClosed": "workpool.errors",
    "InitializerFailed": "workpool.errors",
    "JoinTimeout": "workpool.errors",
    "Journal": "workpool.journal.settings",
    "JournalError": "workpool.errors",
    "JournalInUse": "workpool.errors",
    "JournalMismatch": "workpool.errors",
    "LifoQueue": "workpool.queues",
    "Lock": "workpool.shared",
    "NotPicklable": "workpool.errors",
    "Options": "workpool.pool",
    "Pool": "workpool.pool",
    "PoolClosed": "workpool.errors",
    "PriorityQueue": "workpool.queues",
    "Progress": "workpool.integrations.progress.snapshot",
    "Queue": "workpool.queues",
    "RateLimiter": "workpool.shared",
    "Results": "workpool.results",
    "Semaphore": "workpool.shared",
    "Shared": "workpool.shared",
    "SharedStateLost": "workpool.errors",
    "ShutDown": "workpool._compat",
    "Stats": "workpool.observe.stats",
    "Task": "workpool.task",
    "TimeLimitExceeded": "workpool.errors",
    "UnknownBackend": "workpool.errors",
    "Unsupported": "workpool.errors",
    "WorkerLost": "workpool.errors",
    "WorkerStack": "workpool.observe.stacks",
    "WorkerStartFailed": "workpool.errors",
    "WorkerTraceback": "workpool.errors",
    "WorkpoolError": "workpool.errors",
    "WouldDeadlock": "workpool.errors",
    "current": "workpool.situation",
}

# Written out: checkers of types read it for `from workpool import *`. A test compares the two.
__all__ = [
    "Array",
    "BackendName",
    "BrokenWorker",
    "Counter",
    "Current",
    "Event",
    "ForkedPool",
    "Group",
    "GroupClosed",
    "InitializerFailed",
    "JoinTimeout",
    "Journal",
    "JournalError",
    "JournalInUse",
    "JournalMismatch",
    "LifoQueue",
    "Lock",
    "NotPicklable",
    "Options",
    "Pool",
    "PoolClosed",
    "PriorityQueue",
    "Progress",
    "Queue",
    "RateLimiter",
    "Results",
    "Semaphore",
    "Shared",
    "SharedStateLost",
    "ShutDown",
    "Stats",
    "Task",
    "TimeLimitExceeded",
    "UnknownBackend",
    "Unsupported",
    "WorkerLost",
    "WorkerStack",
    "WorkerStartFailed",
    "WorkerTraceback",
    "WorkpoolError",
    "WouldDeadlock",
    "current",
]


# Unseen by whoever checks types, to whom every misspelt name would be an object.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a public name from its module (PEP 562)."""
        home = _HOME.get(name)
        if home is None:
            message = f"module 'workpool' has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(importlib.import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *_HOME})
