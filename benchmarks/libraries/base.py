"""What a workload may ask of a library; an adapter overrides what its library offers.

A workload runs with every library that offers the call it needs, so an adapter is
one small class and no list says who takes part where. Calls that are measured in
bulk (`submit_many`, `gather`) stand in the adapter as the loop a user would write,
so that no adapter pays for a layer in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

Kind = Literal["thread", "process", "interpreter"]
Role = Literal["ours", "peer", "limit"]


class Library:
    """A way to have work done by others; made anew for each measurement."""

    name: ClassVar[str]
    kind: ClassVar[Kind]
    role: ClassVar[Role] = "peer"
    package: ClassVar[str] = ""  # what must be installed; nothing for the standard library
    imports: ClassVar[str] = ""  # the library's import
    first_use: ClassVar[str] = (
        ""  # the import that leaves nothing to be loaded when the pool is made
    )
    start_method: ClassVar[str | None] = None
    only: ClassVar[frozenset[str] | None] = None  # the workloads where it says something new
    in_quick: ClassVar[bool] = False

    @classmethod
    def offers(cls, call: str) -> bool:
        """Tell whether the adapter has that call."""
        return getattr(cls, call) is not getattr(Library, call)

    @classmethod
    def installed(cls) -> bool:
        """Tell whether it can be measured here."""
        return not cls.package or find_spec(cls.package) is not None

    def load(self) -> None:
        """Import what a program would import at its top."""

    def open(self, workers: int) -> None:
        """Make the pool."""
        raise NotImplementedError

    def close(self) -> None:
        """End the pool and wait for its workers."""
        raise NotImplementedError

    # ------------------------------------------------------------------ tasks

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Submit one task and wait for its result."""
        raise NotImplementedError

    def submit_many(self, fn: Callable[[], Any], count: int) -> list[Any]:
        """Submit so many tasks, each on its own."""
        raise NotImplementedError

    def gather(self, handles: list[Any]) -> list[Any]:
        """Wait for what `submit_many` gave."""
        raise NotImplementedError

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        """Map with the library's own settings."""
        raise NotImplementedError

    def map_tuned(
        self, fn: Callable[[Any], Any], items: Iterable[Any], chunk: int
    ) -> Iterable[Any]:
        """Map with the chunks that its documentation advises for many small items."""
        raise NotImplementedError

    def stream(self, fn: Callable[[Any], Any], items: Iterator[Any]) -> Iterator[Any]:
        """Map over a generator, results as they come."""
        raise NotImplementedError

    def call_limited(self, fn: Callable[..., Any], *args: Any, limit: float) -> None:
        """Run a task that is too slow; return when the caller knows that it was ended."""
        raise NotImplementedError

    def call_again(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Run a task whose worker dies the first time, and once more, as its documentation says."""
        raise NotImplementedError

    # ------------------------------------------------------- queues and counters

    def pass_items(self, count: int) -> float:
        """Put so many items, have a consumer mark each done, join; give the seconds."""
        raise NotImplementedError

    def count_up(self, workers: int, each: int) -> float:
        """Have so many workers add 1 so often to one number; give the seconds."""
        raise NotImplementedError


def spawn_context() -> Any:
    """Give multiprocessing as it works on all systems; loaded when it is needed."""
    from multiprocessing import get_context

    return get_context("spawn")
