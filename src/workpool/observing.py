"""What a pool tells of itself: numbers, and the story of what ran when."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from workpool.backends.base import Backend
    from workpool.observe.recording import Recorder
    from workpool.observe.stacks import WorkerStack
    from workpool.observe.stats import Stats
    from workpool.scheduling.scheduler import Scheduler
    from workpool.scheduling.terms import Terms
    from workpool.settings import Settings

__all__ = ["Observing", "recorder_for"]


class Observing:
    """The calls of a pool that look at it."""

    _scheduler: Scheduler
    _settings: Settings
    _recorder: Recorder | None
    _terms: Terms
    _backend: Backend
    _name: str
    _max_workers: int

    def __repr__(self) -> str:
        """Show the sizes, limits and methods in force."""
        if not hasattr(self, "_scheduler"):
            return f"<{type(self).__name__}, not made yet>"
        settings, terms = self._settings, self._terms
        shown = [f"{self._max_workers}", f"backend={settings.backend!r}", f"name={self._name!r}"]
        if settings.queue_size:
            shown.append(f"queue_size={settings.queue_size}")
        given: dict[str, object] = {
            "time_limit": terms.time_limit,
            "retries": terms.retries,
            "seed": terms.seeds,
        }
        given["context"] = terms.context if isinstance(terms.context, bool) else "listed"
        shown += [f"{name}={value}" for name, value in given.items() if value]
        if settings.max_tasks_per_worker:
            shown.append(f"max_tasks_per_worker={settings.max_tasks_per_worker}")
        extra = self._backend.describe()
        if extra:
            shown.append(extra)
        state = "closed" if self._scheduler.closed else f"{len(self._scheduler.workers)} workers"
        with self._scheduler.lock:
            unfinished = self._scheduler.ledger.unfinished
        return f"<Pool({', '.join(shown)}) {state}, {unfinished} unfinished>"

    @property
    def unfinished(self) -> int:
        """How many tasks are submitted and not done; an item of a map call counts as one."""
        with self._scheduler.lock:
            return self._scheduler.ledger.unfinished + len(self._scheduler.late)

    def stats(self) -> Stats:
        """Tell what has happened so far.

        Returns
        -------
        Stats
            A frozen snapshot: counts, busy times, percentiles of waiting and running.
        """
        from workpool.observe.stats import snapshot

        return snapshot(self._scheduler)

    def stacks(self) -> list[WorkerStack]:
        """Tell where each worker stands, also one that hangs in C code or waits for a lock.

        No task is disturbed by it. Workers that do not answer within a second are
        listed with the reason.

        Returns
        -------
        list of WorkerStack
            One for each worker, by index; ``print`` them.
        """
        from workpool.observe.stacks import take_stacks

        return take_stacks(self._scheduler)

    def timeline(self, path: str | os.PathLike[str]) -> None:
        """Write what ran when, who waited, and what failed: for Perfetto, or as a page of its own.

        It can be called at any time, also when the pool is shut down.

        Parameters
        ----------
        path : str or path
            ``.json`` or ``.json.gz``: a trace that https://ui.perfetto.dev and
            ``chrome://tracing`` open. ``.html``: a report in one file, with the lanes of
            the workers, the depth of the queue, waiting and running times, failures
            and retries.

        Raises
        ------
        Unsupported
            The pool does not record; ``Pool(..., record=True)`` does.
        ValueError
            The name ends in something else.
        """
        from workpool.observe.timeline import write

        write(self._scheduler, self._recorder, path, backend=self._settings.backend)


def recorder_for(record: bool | int) -> Recorder | None:
    """Make what remembers so many slices; as many as usual for ``True``, and nothing for ``False``."""
    if not record:
        return None
    from workpool.observe.recording import DEFAULT_SLICES, Recorder

    return Recorder(DEFAULT_SLICES if record is True else record)
