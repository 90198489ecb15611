"""What is large goes to an interpreter by its address; who keeps it, and how long."""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
from array import array
from collections.abc import Generator
from typing import Any

import pytest

from tests.support.gates import DEADLINE, Gate, stop
from tests.support.queues import until
from tests.support.tasks import double, echo
from workpool import Pool, TimeLimitExceeded
from workpool._compat import has_interpreters
from workpool.backends.interpreter import strays
from workpool.ipc import borrowing, depot, nameless, pickling
from workpool.ipc.addresses import address_of
from workpool.ipc.loans import Lender, Lent, Loan, Tenancy

pytestmark = [
    pytest.mark.skipif(not depot.CAN_LEND, reason="this system has no memfd"),
    pytest.mark.skipif(not has_interpreters(), reason="this Python has no concurrent.interpreters"),
]

LARGE = bytes(range(256)) * 2_048  # 512 KiB


@pytest.fixture
def lender() -> Generator[Lender]:
    """Give a lender."""
    made = Lender(nameless.make("test"))
    yield made
    made.close()


@pytest.fixture
def tenancy() -> Generator[Tenancy]:
    """Give the slots of one receiver."""
    memory = mmap.mmap(-1, depot.CONTROL_SIZE)
    yield Tenancy(memory, 0)
    memory.close()


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool of one interpreter."""
    with Pool(1, backend="interpreter") as made:
        yield made
        made.kill()


def lend(lender: Lender, tenancy: Tenancy, value: object) -> tuple[Loan, Lent]:
    """Lend a value; give both ends."""
    loan = lender.dump(value)
    assert isinstance(loan, Loan)
    note = loan.note_for(tenancy)
    assert note is not None
    return loan, Lent(-1, tenancy, note)


def kept(tenancy: Tenancy) -> list[object]:
    """List what is kept for a receiver."""
    return [what for _, what in tenancy._kept.values()]


def handle_of(pool: Pool) -> Any:
    """Give the caller's ends of the one worker."""
    workers: Any = pool._scheduler.workers
    (worker,) = workers.values()
    return worker._handle


# ------------------------------------------------------------------- what goes which way


@pytest.mark.parametrize(
    "value",
    [LARGE, memoryview(LARGE), memoryview(LARGE)[9:], ["x" * 600_000], ((LARGE, 1), {"b": LARGE})],
    ids=["bytes", "view", "part", "text", "call"],
)
def test_what_cannot_change_is_not_laid_down(
    lender: Lender, tenancy: Tenancy, value: object
) -> None:
    """Bytes, views of bytes and what is pickled anyway are read where they are."""
    _, lent = lend(lender, tenancy, value)
    assert borrowing.loads(lent) == value
    assert lender._end == 0


@pytest.mark.parametrize(
    "value",
    [bytearray(LARGE), array("q", LARGE), memoryview(bytearray(LARGE)), (LARGE, bytearray(LARGE))],
    ids=["bytearray", "array", "view", "both"],
)
def test_what_can_change_is_copied_at_once(lender: Lender, value: object) -> None:
    """It lies in the depot, as for a process."""
    assert not isinstance(lender.dump(value), (bytes, Loan))


def change(pool: Pool, sent: bytearray, argument: Any) -> bytes:
    """Submit something, change what it was made of before it can be looked at, and give what arrives."""
    with Gate() as gate:
        pool.submit(stop, gate.path)
        gate.arrival()
        task = pool.submit(bytes, argument)
        sent[:5] = b"other"
    return task.result(DEADLINE)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_task_sees_what_was_sent(pool: Pool, kind: type[Any]) -> None:
    """What the caller does to a bytearray after submit is not seen, through a view of it neither."""
    sent = bytearray(LARGE)
    assert change(pool, sent, sent if kind is bytearray else memoryview(sent)) == LARGE


def where(view: memoryview) -> tuple[int, bool, str]:
    try:
        view[0] = 1
    except TypeError:
        return address_of(view), view.readonly, type(view.obj).__name__
    raise AssertionError


def test_a_view_of_bytes_is_the_callers_memory(pool: Pool) -> None:
    """The task reads at the caller's address, and cannot write; the bytes object itself is not there."""
    sent = memoryview(LARGE)[100:]
    address, readonly, owner = pool.submit(where, sent).result(DEADLINE)
    assert address == address_of(LARGE) + 100
    assert readonly
    assert owner != "bytes"


# --------------------------------------------------------------------- who keeps it


def test_bytes_are_let_go_when_they_are_unpickled(lender: Lender, tenancy: Tenancy) -> None:
    """Then the receiver has bytes of its own."""
    loan, lent = lend(lender, tenancy, LARGE)
    assert len(kept(tenancy)) == 1
    assert borrowing.loads(lent) == LARGE
    assert not tenancy.any_taken()
    assert not kept(tenancy)
    del loan


def test_memory_is_kept_until_the_last_view_is_gone(lender: Lender, tenancy: Tenancy) -> None:
    """A part of a view keeps it; when that is gone, the next look lets go."""
    loan, lent = lend(lender, tenancy, [memoryview(LARGE), memoryview(LARGE)])
    first, second = borrowing.loads(lent)
    part = first[5:].cast("B")[7:]
    del loan, lent, first, second
    gc.collect()
    assert len(kept(tenancy)) == 1
    assert part[0] == 12
    del part
    tenancy.sweep()
    assert not kept(tenancy)


def test_what_nobody_opens_is_let_go(lender: Lender, tenancy: Tenancy) -> None:
    """A note that was received and dropped is as good as one that was used."""
    loan, lent = lend(lender, tenancy, LARGE)
    del lent
    del loan
    assert not kept(tenancy)


def test_a_slot_that_is_used_again_is_not_let_go_of(lender: Lender, tenancy: Tenancy) -> None:
    """The end of one loan does not end the next that has its slot."""
    first, lent = lend(lender, tenancy, memoryview(LARGE))
    number = first._lent[0][1]
    view = borrowing.loads(lent)
    tenancy.clear(0)  # as if the view were gone, a moment ago
    second, _lent = lend(lender, tenancy, memoryview(LARGE))
    tenancy.clear(0)
    assert [slot for slot, _ in tenancy._kept.values()] == [0]
    tenancy.let_go(number)  # the first one's finalizer, which saw the slot clear
    assert len(kept(tenancy)) == 1
    del view, second


def test_with_no_slot_left_it_goes_through_the_pipe(lender: Lender, tenancy: Tenancy) -> None:
    """A receiver that holds very much is sent the pieces one behind the other."""
    while tenancy.take() >= 0:
        pass
    value: Any = ((LARGE, 1, memoryview(LARGE)), {})
    loan = lender.dump(value)
    assert isinstance(loan, Loan)
    assert loan.note_for(tenancy) is None
    assert borrowing.loads([memoryview(piece) for piece in loan.read()]) == value


def test_a_loan_may_be_lent_again_to_another(lender: Lender, tenancy: Tenancy) -> None:
    """A task that runs again elsewhere finds the same bytes."""
    loan, lent = lend(lender, tenancy, LARGE)
    other = Tenancy(mmap.mmap(-1, depot.CONTROL_SIZE), 0)
    note = loan.note_for(other)
    assert note is not None
    assert borrowing.loads(Lent(-1, other, note)) == borrowing.loads(lent) == LARGE
    other.declare_void()


def test_no_reference_is_left_behind(pool: Pool) -> None:
    """After a task nobody but the caller has its bytes."""
    sent = bytes(bytearray(LARGE))
    before = sys.getrefcount(sent)
    values: list[Any] = [sent, memoryview(sent), [sent], {"a": memoryview(sent)}]
    while values:
        pool.submit(echo, [values[0]] * 2).result(DEADLINE)
        pool.submit(len, values.pop()).result(DEADLINE)
    assert list(pool.map(len, [sent] * 5)) == [len(sent)] * 5
    assert pool.submit(double, 1).result(DEADLINE) == 2

    def gone() -> bool:
        gc.collect()
        handle_of(pool).argument_slots.sweep()
        return sys.getrefcount(sent) == before

    until(gone)


_views: list[memoryview] = []


def hold(view: memoryview) -> int:
    _views.append(view)
    return len(_views)


def held(at: int) -> bytes:
    return bytes(_views[-1][at : at + 5])


def test_a_view_that_a_worker_keeps_stays_valid(pool: Pool) -> None:
    """The caller may forget the bytes: a view that a task has put aside still shows them."""
    sent: Any = memoryview(bytes(bytearray(LARGE)))
    assert pool.submit(hold, sent).result(DEADLINE) == 1
    del sent
    others = [bytes([n]) * len(LARGE) for n in range(8)]  # would lie where it lay
    assert [task.result(DEADLINE) for task in [pool.submit(hold, memoryview(o)) for o in others]]
    assert pool.submit(held, 256).result(DEADLINE) == others[-1][:5]


def test_a_worker_that_ends_lets_go_of_all_it_had() -> None:
    """With its interpreter its views are gone, and nothing is kept for them."""
    with Pool(1, backend="interpreter") as pool:
        pool.submit(hold, memoryview(LARGE)).result(DEADLINE)
        slots: Tenancy = handle_of(pool).argument_slots
        assert len(kept(slots)) == 1
    until(lambda: not kept(slots))


def keep_and_hang(view: Any, gate: str) -> None:
    _views.append(memoryview(view))
    stop(gate)
    ctypes.PyDLL(None).usleep(5_000_000)  # house: sleep - with the GIL of its interpreter


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_who_is_written_off_keeps_what_it_reads(pool: Pool, kind: type[Any]) -> None:
    """Its memory is neither freed nor used for other arguments until its interpreter is gone; then it is."""
    sent = kind(LARGE)
    pool.submit(double, 1).result(DEADLINE)
    handle = handle_of(pool)
    slots: Tenancy = handle.argument_slots
    with Gate() as gate:
        limited = pool.options(time_limit=DEADLINE)
        task = limited.submit(keep_and_hang, memoryview(sent), gate.path)
        gate.arrival()
    assert task.cancel(kill=True)
    assert pool.submit(double, 1).result(DEADLINE) == 2  # its successor works: it is accounted for
    assert handle.dead
    assert not handle.host.ended.is_set(), "it ended before anything could be seen"
    assert slots.any_taken()
    assert bool(kept(slots)) == (kind is bytes)
    for host in list(strays._strays):
        assert host.ended.wait(DEADLINE)
    until(lambda: not slots.any_taken() and not kept(slots))


def test_a_limit_while_it_reads_costs_nobody_else(pool: Pool) -> None:
    """Workers that are written off again and again with views in their hands leave the others what they sent."""
    with Gate() as gate:
        for n in range(3):
            sent = bytes([n]) * len(LARGE)
            task = pool.options(time_limit=0.5).submit(keep_and_hang, memoryview(sent), gate.path)
            assert isinstance(task.exception(DEADLINE), TimeLimitExceeded)
            assert pool.submit(echo, sent).result(DEADLINE) == sent
    for host in list(strays._strays):
        assert host.ended.wait(DEADLINE)


def test_a_pickle_alone_is_lent_too(lender: Lender) -> None:
    """What is large only together is not copied again; what is small goes through the pipe."""
    assert isinstance(lender.dump(list(range(100_000))), Loan)
    assert lender.dump([1]) == pickling.dumps([1])
