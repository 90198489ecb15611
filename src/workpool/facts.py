"""What a task knows of its call: its name, where and how often it ran, and what it printed."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.naming import function_name

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Facts"]


class Facts:
    """The part of a task that tells about it; those who run it write it down."""

    # Slots, all set by the task: what a class has a default for is slow to load and to store.
    __slots__ = (
        "_attempts",
        "_call",
        "_called",
        "_ended_at",
        "_printed",
        "_queued_at",
        "_started_at",
        "_terms",
        "_worker",
    )

    _call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | None
    _called: str | None  # the function's name, when the call is dropped
    _terms: Any
    _attempts: int
    _worker: int | None
    _queued_at: float
    _started_at: float
    _ended_at: float
    _printed: tuple[list[str], list[str]] | None

    if TYPE_CHECKING:

        def done(self) -> bool:
            """Tell whether the task has an outcome: the future's call."""
            ...

    @property
    def name(self) -> str:
        """The name given by ``options(name=...)``, else the function's."""
        return self._name

    @property
    def _name(self) -> str:
        given = getattr(self._terms, "name", None)
        if given is not None:
            return str(given)
        if self._called is not None:
            return self._called
        call = self._call
        return function_name(call[0]) if call is not None else "task"

    @property
    def attempts(self) -> int:
        """How often the task was started."""
        return self._attempts

    @property
    def worker(self) -> int | None:
        """Index of the worker that ran it last, ``None`` before it started."""
        return self._worker

    @property
    def queued_for(self) -> float:
        """Seconds from submit to start, or until now."""
        if not self._queued_at:
            return 0.0
        until = self._started_at or (self._ended_at if self.done() else monotonic())
        return max(0.0, until - self._queued_at)

    @property
    def ran_for(self) -> float:
        """Seconds from its last start to its end, or until now; 0.0 before it started."""
        if not self._started_at:
            return 0.0
        return max(0.0, (self._ended_at or monotonic()) - self._started_at)

    @property
    def stdout(self) -> str:
        """What all attempts of the task have printed so far, with ``Pool(capture=True)``; kept if its worker dies."""
        return "" if self._printed is None else "".join(self._printed[0])

    @property
    def stderr(self) -> str:
        """What the task has written to ``sys.stderr`` so far, with ``Pool(capture=True)``."""
        return "" if self._printed is None else "".join(self._printed[1])

    def _not_yet(self) -> TimeoutError:
        return TimeoutError(
            f"{self._name} is not done yet. It goes on, and may be asked again; a time_limit would end it"
        )

    def keep_printed(self, which: int, text: str) -> None:
        """Keep what the task printed: 0 for stdout, 1 for stderr. By one thread at a time."""
        if self._printed is None:
            self._printed = ([], [])
        self._printed[which].append(text)
