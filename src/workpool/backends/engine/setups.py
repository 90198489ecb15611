"""What each worker does before its first task, made ready to travel to an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workpool.calm import is_ctrl_c
from workpool.errors import NotPicklable, brief
from workpool.ipc import pickling

if TYPE_CHECKING:
    from workpool.situation import Setup

__all__ = ["dump_setup"]


def dump_setup(setup: Setup, pool: str) -> bytes | None:
    """Pickle a setup, if it does something; NotPicklable names the part that cannot travel."""
    if not setup.does_something:
        return None
    try:
        return _dump(setup)
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        for part in ("initializer", "initargs", "worker_context"):
            try:
                _dump(getattr(setup, part))
            except BaseException as cause:
                if is_ctrl_c(cause):
                    raise
                message = (
                    f"{part} of {pool} cannot go to the workers of an engine: {brief(cause)}. Give what can be "
                    'pickled, or use backend="thread".'
                )
                raise NotPicklable(message, part=part) from error
        raise


def _dump(value: Any) -> bytes:
    data = pickling.dumps(value)
    if pickling.mentions_main(data):
        # A worker over there has a __main__ of its own: what is of ours goes along whole.
        data = pickling.dumps(value, by_value=True)
    return data
