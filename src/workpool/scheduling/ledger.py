"""How many tasks are submitted and not done, and who waits for that to reach nothing.

``join`` must return when every task submitted *so far* is done, also while
others go on submitting. So tasks are counted by epoch: each join seals the
current epoch and waits for it and the ones before; later tasks belong to the
next epoch and do not hold it up.

Every call here is made with the scheduler's lock held, which guards all of it.
"""

from __future__ import annotations

from typing import Any

from workpool.waits import make_sleeper

__all__ = ["Epoch", "Ledger"]


class Epoch:
    """The tasks accepted between two joins."""

    __slots__ = ("left", "open_jobs", "sleepers")

    def __init__(self) -> None:
        self.left = 0  # tasks accepted and not done
        self.open_jobs: list[Any] = []  # map calls whose input is not all pulled
        self.sleepers: list[Any] = []  # a held lock for each join that waits


class Ledger:
    """All epochs that still have tasks, the current one last."""

    __slots__ = ("_joins", "_sealed", "current")

    def __init__(self) -> None:
        self.current = Epoch()
        self._sealed: list[Epoch] = []
        self._joins = 0  # under way

    @property
    def unfinished(self) -> int:
        """Tasks accepted and not done."""
        return self.current.left + sum(epoch.left for epoch in self._sealed)

    @property
    def anything_left(self) -> bool:
        """Whether any task is accepted and not done; the last accepted is looked at first, as it is done last."""
        return bool(self.current.left) or any(epoch.left for epoch in reversed(self._sealed))

    @property
    def open_jobs(self) -> list[Any]:
        """Map calls whose input is not all pulled, oldest first."""
        return [job for epoch in (*self._sealed, self.current) for job in epoch.open_jobs]

    def seal(self) -> list[Epoch]:
        """Begin a new epoch for a join, and give those before it that still have something to do."""
        self._joins += 1
        if self.current.left or self.current.open_jobs:
            self._sealed.append(self.current)
            self.current = Epoch()
        self._sealed = [epoch for epoch in self._sealed if epoch.left or epoch.open_jobs]
        return list(self._sealed)

    def join_ended(self) -> None:
        """Go on with the last epoch, if no join waits for it any more and the new one was not needed.

        Who polls, with a join of no or little time after each submit, would else leave an epoch each time.
        """
        self._joins -= 1
        current = self.current
        if not (self._joins or current.left or current.open_jobs) and self._sealed:
            self.current = self._sealed.pop()

    def rouse_all(self) -> None:
        """Have every join look again, and see to what is left."""
        for epoch in (*self._sealed, self.current):
            self.emptied(epoch)

    def emptied(self, epoch: Epoch) -> None:
        """Wake the joins that wait for an epoch in which nothing is left."""
        sleepers, epoch.sleepers = epoch.sleepers, []
        for sleeper in sleepers:
            rouse(sleeper)


def rouse(sleeper: Any) -> None:
    """Wake a join that sleeps on several things; the second wake-up changes nothing.

    Only the sleeper itself ever acquires, and only the holder of the scheduler's
    lock releases, so a lock seen locked here is still locked in the next line.
    """
    if sleeper.locked():
        sleeper.release()


def sleeper_on(epoch: Epoch) -> Any:
    """Register a sleeper that is released at the next time the epoch has nothing left."""
    sleeper = make_sleeper()
    epoch.sleepers.append(sleeper)
    return sleeper
