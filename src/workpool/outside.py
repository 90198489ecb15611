"""Beginning and settling a task from outside, as executors and tests do; a task of a pool, too.

It is counted then as if its worker had settled it: whoever finds it in the queue, or comes back
with an outcome of it, sees that it is done and leaves it.
"""

from __future__ import annotations

from concurrent.futures import InvalidStateError
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from functools import partial
from typing import TYPE_CHECKING, Any

from workpool.headroom import ensure_headroom
from workpool.midway import held_here

if TYPE_CHECKING:
    from workpool.owner import Owner

__all__ = ["begin", "settle"]


def begin(task: Any) -> bool:
    """Have a task count as running; False if it was cancelled."""
    owner: Owner | None = task._owner
    midway = held_here()  # then the books are done when that step is
    with task._lock:
        # No call between the look and the change: a finalizer may cancel it in there (task.py).
        stage = task._stage
        if stage == PENDING:
            task._stage = RUNNING
            if owner is not None and not midway:
                owner.taken_off(task)
    if stage == PENDING:
        if owner is not None and midway:
            owner.without_lock(partial(_take_off, task, owner))
        return True
    if stage == CANCELLED_AND_NOTIFIED:
        return False
    message = f"Future in unexpected state: {stage}"
    raise RuntimeError(message)


def settle(task: Any, result: Any, exception: BaseException | None) -> None:
    """Store an outcome, count the task done, and tell who waits for it."""
    ensure_headroom()
    owner: Owner | None = task._owner
    midway = held_here()
    call = task._call  # kept beyond the lock: finalizers of arguments are user code
    with task._lock:
        stage = task._stage
        if stage in (FINISHED, CANCELLED_AND_NOTIFIED, CANCELLED):
            message = f"{stage}: {task!r}"
            raise InvalidStateError(message)
        task._result, task._exception, task._stage = result, exception, FINISHED
        extras = task.settle(result, exception)
        if owner is not None and not midway:
            if stage == PENDING:
                owner.taken_off(task)
            if extras is None:
                owner.count_done(task)
    del call
    if owner is None:
        if extras is not None:
            extras.tell(task)
    elif midway:
        owner.without_lock(partial(_finish, task, owner, pending=stage == PENDING))
    elif extras is not None:
        owner.tell(task, extras)


def _take_off(task: Any, owner: Owner) -> None:
    with task._lock:
        owner.taken_off(task)


def _finish(task: Any, owner: Owner, *, pending: bool) -> None:
    """Do the rest of what came in the middle of a step, now that the step is done."""
    with task._lock:
        extras = task._extras
        if pending:
            owner.taken_off(task)
        if extras is None:
            owner.count_done(task)
    if extras is not None:
        owner.tell(task, extras)
