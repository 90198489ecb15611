"""What tasks of this process log and print: named and routed while a pool that wants it is there."""

from __future__ import annotations

from typing import Any

__all__ = ["begin_reports", "end_reports"]


def begin_reports(settings: Any) -> None:
    """Name tasks in log records, and route what is printed, if the pool is to do so."""
    if settings.logs:
        from workpool.tasklog import name_tasks

        name_tasks()
    if settings.capture:
        from workpool.printing import begin_routing

        begin_routing()


def end_reports(settings: Any) -> None:
    """Put the streams back that were routed."""
    if settings.capture:
        from workpool.printing import end_routing

        end_routing()
