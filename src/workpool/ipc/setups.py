"""What each worker does before its first task, pickled; the part that cannot travel is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workpool.calm import is_ctrl_c
from workpool.errors import NotPicklable, brief
from workpool.ipc import inheritance, pickling

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.situation import Setup

__all__ = ["pickle_setup", "try_setup"]


def pickle_setup(setup: Setup, pool: str, far: str) -> None:
    """Raise NotPicklable if initializer, initargs or worker_context cannot travel to a process."""
    if setup.does_something:
        pickled = 'pickled (multiprocessing objects of get_context("spawn"))'
        with inheritance.spawning():
            try_setup(setup, pickling.dumps, f"of {pool} cannot go to {far}", pickled)


def try_setup(setup: Setup, dump: Callable[[Any], bytes], cannot: str, pickled: str) -> bytes:
    """Pickle a setup; ``cannot`` is what is said of a part that refuses, and ``pickled`` what would not."""
    try:
        return dump(setup)
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        for part in ("initializer", "initargs", "worker_context"):
            try:
                dump(getattr(setup, part))
            except BaseException as cause:
                if is_ctrl_c(cause):
                    raise
                way_out = f'Give what can be {pickled}, or use backend="thread".'
                message = f"{part} {cannot}: {brief(cause)}. {way_out}"
                raise NotPicklable(message, part=part) from error
        raise
