"""What a task asks of the scheduler it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Owner"]


class Owner(Protocol):
    """A scheduler, as its tasks know it; they stand on this file, and so are ``Any`` in it."""

    lock: Any  # guards the state of all its tasks

    def withdrew(self, task: Any) -> None:
        """Give back the place of a task that was cancelled before it started; called with the lock held."""

    def taken_off(self, task: Any) -> None:
        """Give back the place of a task that is begun or settled from outside; called with the lock held."""

    def count_done(self, task: Any) -> None:
        """Count a task done; called with the lock held."""

    def tell(self, task: Any, extras: Any) -> None:
        """Tell who waits for a task that is over, and then count it done."""

    def without_lock(self, call: Callable[[], object]) -> None:
        """Make a call that takes the lock, or have it made when this very thread has let go of that."""

    def aside(self, call: Callable[[], object]) -> None:
        """Have a call that runs user code made by a thread of its own."""

    def kill_task(self, task: Any) -> bool:
        """End a running task, if this backend can."""
        ...

    def ask_to_end(self, task: Any) -> None:
        """Let a running task see that it is not wanted any more."""

    def assist(self, task: Any, timeout: float | None) -> Any:
        """Let the thread that is about to wait for ``task`` help it along; gives what ``waited`` is told, or None."""
        ...

    def waited(self, wait: Any) -> None:
        """Hear that the wait which was assisted is over."""

    def before_foreign_wait(self, task: Any) -> None:
        """Hear that some thread is about to wait for ``task`` by the standard library's means."""

    def before_callback(self, task: Any) -> None:
        """Hear that a callback was left with ``task`` for an event loop, which may wait in this thread for it."""

    def listen(self) -> None:
        """Have outcomes noticed as soon as they come."""
