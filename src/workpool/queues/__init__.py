"""Queues with task_done and join, between threads or between processes.

One idea a file: `calls` (what every queue promises), `thread` (how a call does
without a lock), `debts` (what is not done), `sleepers` (threads that wait), `ordered` (last in first out,
smallest first), `process` (the same queue between processes; what lies in
shared memory is `workpool.ipc`'s).
"""

from __future__ import annotations

from queue import Empty, Full

from workpool._compat import ShutDown
from workpool.queues.ordered import LifoQueue, PriorityQueue
from workpool.queues.thread import Queue

__all__ = ["Empty", "Full", "LifoQueue", "PriorityQueue", "Queue", "ShutDown"]
