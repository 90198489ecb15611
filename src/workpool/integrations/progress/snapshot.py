"""How far a map call is, at one moment: what every display is given to show."""

from __future__ import annotations

import attrs

__all__ = ["Progress"]


@attrs.frozen(kw_only=True)
class Progress:
    """How far a map call is, as handed to ``map(..., progress=callable)``.

    Attributes
    ----------
    name : str
        The name given by ``options(name=...)``, else the function's.
    done, failed : int, items
        Those with a result, and those with an error.
    restored : int, items
        Those of ``done`` whose result came from a journal.
    total : int or None, items
        How many there are; ``None`` while the input has not come to its end.
    elapsed : float, seconds
        Since the call.
    rate : float, items per second
        How fast items were finished lately; in the last snapshot, over the whole run.
    left : float or None, seconds
        Until all are finished, at that rate; ``None`` where nobody can tell.
    ended : bool
        This is the last snapshot: all are finished, or the map was closed.
    """

    name: str
    done: int
    failed: int
    restored: int
    total: int | None
    elapsed: float
    rate: float
    left: float | None
    ended: bool

    @property
    def finished(self) -> int:
        """Items that have an outcome: done and failed."""
        return self.done + self.failed
