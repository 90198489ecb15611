"""Where each worker of a pool stands this moment."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from workpool.scheduling.scheduler import Scheduler

__all__ = ["WorkerStack", "take_stacks"]

_PATIENCE = 1.0  # seconds for all workers together to answer


@attrs.frozen(kw_only=True)
class WorkerStack:
    """Where one worker stands; ``print`` it.

    Attributes
    ----------
    worker : int
        Index of the worker.
    task : str
        What it runs, such as ``"task 3 (resize)"``; empty when it waits for work.
    running_for : float, seconds
        For how long it has been running that.
    text : str
        The stack in the form of a traceback, the latest call last, from the task's
        function on. Empty when the worker waits for work. In brackets, why there
        is none: the worker has just started or ended, or the system has stopped it.
    """

    worker: int
    task: str
    running_for: float
    text: str

    def __str__(self) -> str:
        """Name worker and task, then show the stack."""
        what = f"runs {self.task} for {self.running_for:.1f} s" if self.task else "waits for work"
        if not self.task and self.text:
            what = "runs no task"
        return f"worker {self.worker} {what}\n{self.text}".rstrip()


def take_stacks(scheduler: Scheduler) -> list[WorkerStack]:
    """Ask all workers at once, and wait for their answers together."""
    with scheduler.lock:
        workers = sorted(scheduler.workers.items())
    asked = [(index, worker, worker.ask_for_stack()) for index, worker in workers]
    until = monotonic() + _PATIENCE
    stacks: list[WorkerStack] = []
    for index, worker, answer in asked:
        text = answer(until)
        name, seconds = next(iter(worker.running()), ("", 0.0))
        stacks.append(WorkerStack(worker=index, task=name, running_for=seconds, text=text))
    return stacks
