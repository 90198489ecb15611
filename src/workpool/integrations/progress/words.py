"""Progress in words: counts, rates and times as a person would say them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workpool.naming import visible

if TYPE_CHECKING:
    from workpool.integrations.progress.snapshot import Progress

__all__ = ["clock", "pace", "tell"]


def tell(progress: Progress) -> str:
    """Tell how far a map call is, in a line."""
    total = progress.total
    far = f"{progress.finished:,}"
    if total is not None and not (progress.ended and progress.finished == total):
        percent = 100 * progress.finished // total if total else 100
        far += f" of {total:,} ({percent}%)"
    parts = [far]
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.restored:
        parts.append(f"{progress.restored:,} from the journal")
    parts.append(pace(progress.rate))
    if progress.left is None or progress.ended:
        parts.append(f"{clock(progress.elapsed)} gone")
    else:
        parts.append(f"{clock(progress.left)} left")
    return f"{visible(progress.name)}: {', '.join(parts)}"


def clock(seconds: float) -> str:
    """Write a time as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def pace(rate: float) -> str:
    """Write items per second, or seconds per item where that says more."""
    if rate >= 100 or not rate:
        return f"{rate:,.0f}/s"
    return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
