"""When the items of a map call were accepted: a mark for each batch that was pulled; for statistics.

Every call is made with the scheduler's lock held, which guards all of it.
"""

from __future__ import annotations

from collections import deque
from time import monotonic

__all__ = ["Accepted"]


class Accepted:
    """Marks of items not drawn yet, in order."""

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks: deque[tuple[int, float]] = deque()  # up to which position, and the moment

    def upto(self, position: int) -> None:
        """Note that all items before this position are accepted by now."""
        self._marks.append((position, monotonic()))

    def drawn(self, position: int) -> float:
        """Give when the item was accepted, and forget those before it; 0.0 if it is not accepted."""
        marks = self._marks
        while marks and marks[0][0] <= position:
            marks.popleft()
        return marks[0][1] if marks else 0.0
