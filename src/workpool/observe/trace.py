"""A recording as a file that Perfetto and ``chrome://tracing`` open.

The form is the JSON Object Format of the Trace Event Format: one complete event
("X") a slice on a track a worker, a counter ("C") for the queue, instants ("i") for
what befell a worker, metadata ("M") for names. Times are microseconds since the
pool was made.
"""

from __future__ import annotations

import gzip
import json
import os
from typing import TYPE_CHECKING, Any

from workpool.observe.recording import depth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workpool.observe.recording import Recording, Slice

__all__ = ["events_of", "write_trace"]

# The viewers' own names for colours; others are made from the name of the slice.
_COLOURS = {"failed": "terrible", "retried": "bad", "cancelled": "grey"}


def write_trace(recording: Recording, path: str) -> None:
    """Write a trace, compressed if the name ends in ``.gz``."""
    text = json.dumps(
        {
            "traceEvents": list(events_of(recording)),
            "displayTimeUnit": "ms",
            "otherData": {
                "pool": recording.pool,
                "backend": recording.backend,
                "left_out": str(recording.left_out),
            },
        },
        separators=(",", ":"),
    )
    if path.endswith(".gz"):
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.write(text)
    else:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def events_of(recording: Recording) -> Iterator[dict[str, Any]]:
    """Make the events of a trace."""
    pid, zero = os.getpid(), recording.zero

    def moment(at: float) -> float:
        return round((at - zero) * 1e6, 3)

    title = f"{recording.pool} ({recording.backend})"
    yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": title}}
    workers = {one.worker for one in recording.slices}
    workers |= {one.worker for one in recording.happenings}
    for worker in sorted(workers):
        track = {"ph": "M", "pid": pid, "tid": worker + 1}
        yield {**track, "name": "thread_name", "args": {"name": f"worker {worker}"}}
        yield {**track, "name": "thread_sort_index", "args": {"sort_index": worker}}
    for one in recording.slices:
        event: dict[str, Any] = {
            "ph": "X",
            "name": one.name,
            "cat": "items" if one.items else "task",
            "pid": pid,
            "tid": one.worker + 1,
            "ts": moment(one.began),
            "dur": round(max(0.0, one.ended - one.began) * 1e6, 3),
            "args": _details(one),
        }
        if one.outcome in _COLOURS:
            event["cname"] = _COLOURS[one.outcome]
        yield event
    for at, level in depth(recording):
        yield {
            "ph": "C",
            "name": "queued",
            "pid": pid,
            "tid": 0,
            "ts": moment(at),
            "args": {"tasks": level},
        }
    for at, worker, what in recording.happenings:
        yield {
            "ph": "i",
            "name": what,
            "cat": "worker",
            "pid": pid,
            "tid": worker + 1,
            "ts": moment(at),
            "s": "t",
        }


def _details(one: Slice) -> dict[str, Any]:
    """Say what a viewer shows when a slice is chosen."""
    details: dict[str, Any] = {"outcome": one.outcome}
    if one.items:
        details |= {"first item": one.number, "items": one.items, "failed": one.failed}
    else:
        details |= {"id": one.number, "attempt": one.attempt}
    if one.error:
        details["error"] = one.error
    if one.queued:
        details["waited_ms"] = round((one.began - one.queued) * 1e3, 3)
    return details
