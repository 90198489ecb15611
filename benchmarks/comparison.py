"""Who is how much better: medians, spread, and ratios of figures of the same round."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from benchmarks.rounds import Series


@dataclass(frozen=True)
class Row:
    """One library with one workload."""

    series: Series
    middle: float | None  # median of the figure; None when every round failed
    least: float | None
    most: float | None
    to_best: float | None  # how many times as good as the best peer: above 1 is better
    to_limit: float | None  # the share of what the bare mechanism reaches


@dataclass(frozen=True)
class Comparison:
    """All libraries with one workload, the best first."""

    rows: list[Row]
    best: Series | None  # the peer with the best median
    best_safe: Series | None  # among those that do not fork a process with threads
    limit: Series | None

    @property
    def ours(self) -> Row | None:
        """Workpool as it comes, with its own start method; None when it failed."""
        mine = [row for row in self.rows if row.series.library.role == "ours" and row.middle]
        return next((row for row in mine if row.series.library.in_quick), mine[0] if mine else None)


def compare(group: list[Series]) -> Comparison:
    """Compare series of one workload and one kind of workers."""
    more = group[0].workload.more_is_better
    known = [one for one in group if middle_of(one) is not None]
    known.sort(key=lambda one: middle_of(one) or 0.0, reverse=more)
    peers = [one for one in known if one.library.role == "peer"]
    limits = [one for one in known if one.library.role == "limit"]
    best = peers[0] if peers else None
    best_safe = next((one for one in peers if one.library.start_method != "fork"), None)
    limit = limits[0] if limits else None
    failed = [one for one in group if middle_of(one) is None]
    return Comparison([row(one, best, limit) for one in [*known, *failed]], best, best_safe, limit)


def row(one: Series, best: Series | None, limit: Series | None) -> Row:
    """Put one library beside the best peer and the limit."""
    values = one.of(one.workload.figure)
    return Row(
        series=one,
        middle=middle_of(one),
        least=min(values, default=None),
        most=max(values, default=None),
        to_best=ratio(one, best),
        to_limit=ratio(one, limit),
    )


def middle_of(one: Series) -> float | None:
    """Give the median of the figure that is compared."""
    values = one.of(one.workload.figure)
    return median(values) if values else None


def ratio(one: Series, other: Series | None) -> float | None:
    """Give how many times as good as the other: the median over the rounds that both have."""
    if other is None:
        return None
    key, more = one.workload.figure, one.workload.more_is_better
    ratios = [
        (mine[key] / theirs[key] if more else theirs[key] / mine[key])
        for mine, theirs in zip(one.figures, other.figures, strict=False)
        if mine is not None and theirs is not None and mine[key] and theirs[key]
    ]
    return median(ratios) if ratios else None
