"""Items of a map call that came to a worker together, and what is known of their function."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from workpool.ipc import pickling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Batch", "Proof"]

_TINY = 20_000  # nanoseconds: calls shorter than this run in slices
_SAMPLES = 3  # calls one by one before a function can prove tiny


class Batch:
    """Items of a map call that came together; ``items`` holds those not begun."""

    __slots__ = (
        "_error",
        "_function",
        "attempt",
        "first",
        "fn",
        "items",
        "name",
        "shape",
        "size",
        "start",
    )

    def __init__(
        self,
        first: int,
        start: int,
        name: str,
        attempt: int,
        fn: Any,
        items: Iterable[Any],
        shape: int,
    ) -> None:
        self.first = first  # number of the first item
        self.start = start  # its position in the map call
        self.name = name
        self.attempt = attempt
        self.fn = fn
        self.items: deque[Any] = deque(items)
        self.size = len(self.items)  # less what was taken back; guarded by the worker's lock
        self.shape = shape
        self._function: Callable[..., Any] | None = None
        self._error: BaseException | None = None

    def at_hand(self, known: dict[bytes, Any]) -> bool:
        """Tell whether the function is unpickled, here or among those that are known."""
        return self._function is not None or (self.fn.__class__ is bytes and self.fn in known)

    def function(self, load: Callable[[Any], Callable[..., Any]]) -> Callable[..., Any]:
        """Give the function, unpickled once for all items; what that raised is each item's error."""
        if self._error is not None:
            raise self._error
        if self._function is None:
            try:
                self._function = load(self.fn)
            except BaseException as error:
                self._error = error
                raise
        return self._function

    def take_back(self) -> None:
        """Give up what has not begun, from the far end; lock held."""
        try:
            while True:
                self.items.pop()
                self.size -= 1
        except IndexError:
            pass


class Proof:
    """What is known of a function: how long a call takes, and whether its results are plain."""

    __slots__ = ("calls", "kind", "nanoseconds", "plain")

    def __init__(self) -> None:
        self.calls = 0
        self.nanoseconds = 0.0  # mean of the latest calls
        self.plain = True
        self.kind: type[Any] = type(None)  # of the latest result

    def add(self, nanoseconds: float, kind: type[Any]) -> None:
        """Take in one call."""
        self.calls += 1
        self.nanoseconds = nanoseconds if self.calls <= 1 else (self.nanoseconds + nanoseconds) / 2
        self.plain = self.plain and kind in pickling.PLAIN
        self.kind = kind

    @property
    def tiny(self) -> bool:
        """Whether calls of it may run in slices."""
        return self.plain and self.calls >= _SAMPLES and self.nanoseconds < _TINY
