"""Shared state that is guarded by a lock: one API, wherever the workers are.

Each helper is one file, and says what it promises. Where its value lives is a
*home*: ``in_threads`` for the threads of one process, ``in_processes`` for
processes of one machine. A helper checks what it is given and hands it on; the
home does it. Another home, such as an engine's, is another module with the
functions of ``home.Home``.
"""

from workpool.shared.array import Array
from workpool.shared.counter import Counter
from workpool.shared.event import Event
from workpool.shared.home import Scope
from workpool.shared.lock import Lock
from workpool.shared.rate_limiter import RateLimiter
from workpool.shared.semaphore import Semaphore
from workpool.shared.value import Box, Shared

__all__ = [
    "Array",
    "Box",
    "Counter",
    "Event",
    "Lock",
    "RateLimiter",
    "Scope",
    "Semaphore",
    "Shared",
]
