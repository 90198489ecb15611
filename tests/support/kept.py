"""Tasks that keep what ``current()`` gives, and tell of it when they are over."""

from __future__ import annotations

import workpool
from tests.support.gates import say, stop
from tests.support.tasks import situation, tell_if_cancelled

__all__ = ["hand_out_and_wait", "keep_and_tell", "keep_situation", "tell_of_the_kept"]

_kept: list[workpool.Current] = []


def keep_situation(_: object = None) -> None:
    """Keep what current() gives, beyond the call."""
    _kept[:] = [situation()]


def tell_of_the_kept(seconds: float, gate: str, _: object = None) -> None:
    """Run until this call is cancelled, and say whether the one before, long over, is told so."""
    assert tell_if_cancelled(seconds, gate)
    say(gate, f"kept {_kept[0].cancelled}")


def keep_and_tell(seconds: float, gate: str, n: int) -> None:
    """As the first item, keep what current() gives; as another one, tell of that."""
    if n:
        tell_of_the_kept(seconds, gate)
    else:
        keep_situation()


def hand_out_and_wait(
    pool: workpool.Pool, gate: str, handed: list[workpool.Current], tasks: list[workpool.Task[None]]
) -> None:
    """Give others what current() gives, and wait for another task of the same pool."""
    handed.append(situation())
    tasks.append(pool.submit(stop, gate))
    tasks[0].result()
