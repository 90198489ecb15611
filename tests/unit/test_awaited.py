"""What workers wait for in other pools: whether any of it is not done, asked many times."""

from __future__ import annotations

from workpool.scheduling.awaited import Awaited


class Call:
    """Stands for a map call, and counts who asks."""

    def __init__(self) -> None:
        self.asked = 0
        self.over = False

    @property
    def finished(self) -> bool:
        """Whether it is done."""
        self.asked += 1
        return self.over


def test_any_of_them_may_last() -> None:
    """Whichever is done first, the answer is for all."""
    awaited, calls = Awaited(), [Call(), Call(), Call()]
    assert not awaited.last()
    for each in calls:
        awaited.add(each)
    for each in (calls[2], calls[0], calls[1]):
        assert awaited.last()
        each.over = True
    assert not awaited.last()


def test_what_is_gone_does_not_last() -> None:
    """Nothing is kept alive here."""
    awaited = Awaited()
    awaited.add(Call())
    assert not awaited.last()


def test_each_is_looked_at_a_few_times() -> None:
    """Many are added, asked for and done behind one that takes long; those that are done are dropped."""
    awaited, lasting, calls = Awaited(), Call(), [Call() for _ in range(10_000)]
    awaited.add(lasting)
    for each in calls:
        awaited.add(each)
        assert awaited.last()
        each.over = True
    assert sum(each.asked for each in calls) <= 2 * len(calls)
    assert lasting.asked <= 2 * len(calls)
    assert len(awaited._refs) < 200
