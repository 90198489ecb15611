"""What each worker does before its first task, made ready to travel to an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workpool.ipc import pickling
from workpool.ipc.setups import try_setup

if TYPE_CHECKING:
    from workpool.situation import Setup

__all__ = ["dump_setup"]


def dump_setup(setup: Setup, pool: str) -> bytes | None:
    """Pickle a setup, if it does something; NotPicklable names the part that cannot travel."""
    if not setup.does_something:
        return None
    return try_setup(
        setup, pickling.dump_whole, f"of {pool} cannot go to the workers of an engine", "pickled"
    )
