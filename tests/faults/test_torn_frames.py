"""A frame with outcomes that a worker does not finish: nothing is written behind it, and the journal has the rest."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.faults.conftest import MakePool
from tests.support.dying import die
from tests.support.gates import DEADLINE
from tests.support.tasks import double
from workpool import WorkerLost
from workpool.ipc import frames, outbox
from workpool.ipc.frames import LARGE

# What they call is replaced, in a worker.
writer: Any = frames
sender: Any = outbox

SIZE = 3 * LARGE  # of a result that goes through the pipe, and is not in the journal
LARGE_ONE = 5


class Late(Exception):
    """What the handler of a signal raises, long after what it was meant for."""


def be_struck(after: int) -> None:
    """Have this worker's next large frame struck when so many bytes of it are written, and outcomes wait for it."""
    whole = writer.write_all

    def struck(fd: int, pieces: list[bytes]) -> None:
        frame = b"".join(pieces)
        if len(frame) < SIZE:
            whole(fd, pieces)
            return
        writer.write_all = whole
        for at in range(0, after, LARGE):
            os.write(fd, frame[at : min(after, at + LARGE)])
        raise Late

    writer.write_all = struck
    sender._FLUSH_AFTER = 1 << 62


def sized(n: int) -> bytes:
    """Give a large result for one number, and small ones for others."""
    return b"." * (SIZE if n == LARGE_ONE else n)


@pytest.mark.parametrize("after", [0, 10, 100, SIZE - 1, SIZE])
def test_nothing_is_written_behind_a_torn_frame(make_pool: MakePool, after: int) -> None:
    """The worker ends, what it had finished is told from the journal, and the call that was being sent is lost."""
    pool = make_pool(1)
    pool.submit(be_struck, after).result(DEADLINE)
    results = pool.map(sized, range(10), chunksize=10, return_exceptions=True, timeout=DEADLINE)
    outcomes: list[Any] = list(results)
    lost = outcomes.pop(LARGE_ONE)
    assert isinstance(lost, WorkerLost)
    assert (lost.exitcode, lost.task) == (1, f"item {LARGE_ONE} of map(sized)")
    assert outcomes == [sized(n) for n in range(10) if n != LARGE_ONE]
    assert pool.submit(double, 2).result(DEADLINE) == 4


CALLS = 20_000
BAD = CALLS // 2  # far behind the moment at which they have proved tiny


def die_while_sending_an_error() -> None:
    """Have this worker killed when it is about to send a failure."""
    whole = sender.pack

    def fatal(message: Any, payloads: Any = ()) -> Any:
        if message[0] == sender.DONE and message[1][-1][1] == sender.ERROR:
            die()
        return whole(message, payloads)

    sender.pack = fatal


def fail_at_one(n: int) -> int:
    if n == BAD:
        raise LookupError(n)
    return n


def test_killed_before_it_sends_a_failure_that_ended_a_slice(make_pool: MakePool) -> None:
    """Among tiny calls one fails, and the worker is killed then: failure and results are told from the journal."""
    pool = make_pool(1)
    pool.submit(die_while_sending_an_error).result(DEADLINE)
    results = pool.map(fail_at_one, range(CALLS), return_exceptions=True, timeout=DEADLINE)
    outcomes: list[Any] = list(results)
    assert isinstance(outcomes.pop(BAD), LookupError)
    assert outcomes == [n for n in range(CALLS) if n != BAD]
    assert pool.stats().lost == 1
