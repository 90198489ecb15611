"""Cancelling one task, by whoever: also by a finalizer, which may have struck this very thread in the middle of a step.

- A finalizer that strikes where the task's lock is held flips PENDING to CANCELLED at once. The
  books are done when the step is (``Owner.without_lock``).
- So does one that strikes in a step of another pool and finds the lock free. Where another
  thread has it, nobody waits: all of it is done later.
"""

from __future__ import annotations

from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from functools import partial
from typing import TYPE_CHECKING, Any

from workpool.calm import calmly
from workpool.errors import Midway
from workpool.headroom import ensure_headroom
from workpool.midway import held_here

if TYPE_CHECKING:
    from workpool.owner import Owner

__all__ = ["cancel"]


def cancel(task: Any, *, kill: bool) -> bool:
    """Cancel a task, or end it if it runs; tell whether that is done."""
    ensure_headroom()
    try:
        done = calmly(_withdraw, task, held_here(), kill)
        if done is None:  # it runs; to end it may take a while, in which Ctrl-C is heard
            return _end_running(task, task._owner, kill=kill)
    except Midway:  # of its pool's lock: a task of no pool has another kind
        task._owner.without_lock(partial(cancel, task, kill=kill))
        return False
    return done


def _withdraw(task: Any, midway: bool, kill: bool) -> bool | None:
    """Cancel a task that waits; None if it runs.

    In one step: a task that is cancelled and not counted would be waited for by every join.
    """
    with task._lock:
        stage = task._stage
        owner: Owner | None = task._owner
        if stage == PENDING:
            # Both of Future's steps at once: no worker need come by for a waiter to hear of it.
            task._stage = CANCELLED_AND_NOTIFIED
            extras = task._extras
            call = task._call  # kept beyond the lock: finalizers of arguments are user code
            task._drop_call()
            if owner is not None and not midway:
                _leave(task, owner)
        elif stage in (CANCELLED, CANCELLED_AND_NOTIFIED):
            return True
        else:
            if stage == FINISHED or owner is None:
                return False
            task._unwanted = True
            mark = task._mark
            if mark is not None:
                mark.asked = True
            extras = call = None
    if midway and owner is not None:
        withdrawn: bool = stage == PENDING
        owner.without_lock(partial(_finish, task, owner, withdrawn=withdrawn, kill=kill))
        return withdrawn
    if stage != PENDING:
        return None
    if extras is not None:
        if owner is None:
            extras.tell(task)
        else:
            owner.tell(task, extras)
    del call
    return True


def _leave(task: Any, owner: Owner) -> None:
    """Have a cancelled task leave the queue; lock held.

    In the step that cancels it, before anybody is told: a callback may wait for its place in a full queue. The
    count comes after the callbacks, where there are any: join() must not overtake them.
    """
    owner.withdrew(task)
    if task._extras is None:
        owner.count_done(task)


def _end_running(task: Any, owner: Owner, *, kill: bool) -> bool:
    """Tell a task that runs, and all who heed it, that it is not wanted; or end it."""
    for tell in task._heed:
        tell()
    if kill:
        return owner.kill_task(task)
    owner.ask_to_end(task)
    return False


def _finish(task: Any, owner: Owner, *, withdrawn: bool, kill: bool) -> None:
    """Do the rest of a cancel() that came in the middle of a step, now that the step is done."""
    if not withdrawn:
        _end_running(task, owner, kill=kill)
        return
    with task._lock:
        extras = task._extras
        _leave(task, owner)
    if extras is not None:
        owner.tell(task, extras)
