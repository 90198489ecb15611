"""A recording as one HTML file that needs nothing else: no network, no server, no other file.

The page is a template beside this module; the recording goes into it as columns
of numbers, a few bytes a slice, and the page draws itself from them.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Hashable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from workpool.observe.recording import depth

if TYPE_CHECKING:
    from workpool.observe.recording import Recording

__all__ = ["columns_of", "write_report"]

_TEMPLATE = Path(__file__).with_name("report.html")
_OUTCOMES = ("done", "failed", "retried", "cancelled")


def write_report(recording: Recording, path: str) -> None:
    """Write the page."""
    # Nothing of a name may end the script, or begin a comment of the page.
    data = json.dumps(columns_of(recording), separators=(",", ":")).replace("<", "\\u003c")
    parts = {"title": html.escape(recording.pool), "data": data}
    template = _TEMPLATE.read_text(encoding="utf-8")
    # In one pass: what is put in may look like a place to put something.
    page = re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template)
    Path(path).write_text(page, encoding="utf-8", errors="backslashreplace")


def columns_of(recording: Recording) -> dict[str, Any]:
    """Give a recording as columns; moments are whole microseconds since the pool was made."""
    zero = recording.zero

    def moment(at: float) -> int:
        return round((at - zero) * 1e6)

    names = _Numbered()
    errors = _Numbered()
    slices = recording.slices
    stats = attrs.asdict(recording.stats)
    return {
        "pool": recording.pool,
        "backend": recording.backend,
        "began": f"{datetime.fromtimestamp(recording.began_at).astimezone():%Y-%m-%d %H:%M:%S}",
        "until": moment(recording.until),
        "leftOut": recording.left_out,
        "stats": stats,
        "worker": [one.worker for one in slices],
        "start": [moment(one.began) for one in slices],
        "length": [max(0, moment(one.ended) - moment(one.began)) for one in slices],
        "wait": [moment(one.began) - moment(one.queued) if one.queued else -1 for one in slices],
        "name": [names.number(one.name) for one in slices],
        "number": [one.number for one in slices],
        "count": [one.items for one in slices],
        "failed": [one.failed for one in slices],
        "attempt": [one.attempt for one in slices],
        "outcome": [_OUTCOMES.index(one.outcome) for one in slices],
        "error": [errors.number(one.error) for one in slices],
        "names": names.all,
        "errors": errors.all,
        "depth": [[moment(at), level] for at, level in depth(recording, most=4_000)],
        "happenings": [[moment(at), worker, what] for at, worker, what in recording.happenings],
    }


class _Numbered:
    """Strings that occur often, each written once."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers: dict[Hashable, int] = {}

    def number(self, text: str) -> int:
        """Give the string's number."""
        known = self._numbers.get(text)
        if known is None:
            known = self._numbers[text] = len(self.all)
            self.all.append(text)
        return known
