"""What tests and coverage have in common: they look on, and must not be hit by what they look at.

An exception that is sent into a thread, or a Ctrl-C, strikes wherever Python code runs, so also in a tracer's.
"""

from __future__ import annotations

import sys
from typing import Any

from workpool.backends import thread

__all__ = ["look_on_harmlessly", "unlock_coverage"]


def unlock_coverage() -> None:
    """Have coverage, if it measures this, take no lock at each call: one that was hit there would stay locked."""
    coverage: Any = sys.modules.get("coverage")
    current = coverage and coverage.Coverage.current()
    collector = getattr(current, "_collector", None)
    if collector is not None:
        collector.data_lock = None  # one that does not measure threads has none


def look_on_harmlessly() -> None:
    """Have exceptions sent into threads although tests look on, and coverage: neither takes a lock.

    On Python 3.11 they would hold each other up. Tests of onlookers take this back.
    """
    if sys.version_info >= (3, 12):
        import pytest  # which programs of ours, that need the other function, do not load

        pytest.MonkeyPatch().setattr(thread, "looked_at", lambda *_: False)
