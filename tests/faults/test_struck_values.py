"""What strikes while a value is copied, pickled or laid down comes out of the call as it is.

It is no fault of the value, nor of the system. What a signal's handler raises may be any Exception, an
OSError without a number as a rule (TimeoutError); such a one is the end of a time limit, too.
"""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn
from unittest.mock import Mock

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE
from workpool import Pool, Queue, Shared, TimeLimitExceeded
from workpool.ipc import arenas, block, borrowing, depot, memory, nameless, pickling, pieces
from workpool.ipc.available import available
from workpool.ipc.chain import Chain, Segment
from workpool.ipc.segments import BASE_SIZE, RESERVE, Segments
from workpool.ipc.windows import Windows

if not depot.CAN_LEND:
    pytest.skip("this system has no files of memory", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("arena")


class Alarm(Exception):
    """What a signal's handler raises."""


def strike(error: BaseException) -> NoReturn:
    raise error


@pytest.fixture(params=[Alarm, TimeoutError, ValueError, RuntimeError, TimeLimitExceeded])
def kind(request: pytest.FixtureRequest) -> Iterator[type[Exception]]:
    """Raised by the handler of a signal, or sent into a thread."""
    kind: type[Exception] = request.param
    before = signal.signal(signal.SIGUSR1, lambda *_: strike(kind()))
    Eventful.events.clear()
    yield kind
    Eventful.events.clear()
    signal.signal(signal.SIGUSR1, before)


def it_comes(kind: type[Exception], *_: object, **__: object) -> None:
    """Have it strike."""
    if kind is TimeLimitExceeded:
        raise kind
    signal.raise_signal(signal.SIGUSR1)


# ------------------------------------------------------------------ values


class Eventful:
    """A value; while it is pickled, unpickled or copied, something happens."""

    events: ClassVar[list[Callable[[], object]]] = []

    def __reduce__(self) -> tuple[object, ...]:
        _happen()
        return _made, ()


def _made() -> Eventful:
    _happen()
    return Eventful()


def _happen() -> None:
    if Eventful.events:
        Eventful.events.pop()()


VALUES: dict[str, Callable[[], Callable[[], object]]] = {
    "shared": lambda: partial(Shared, Eventful()),
    "shared.get": lambda: Shared(Eventful()).get,
    "process shared": lambda: partial(Shared, Eventful(), scope="process"),
    "process shared.get": lambda: Shared(Eventful(), scope="process").get,
    "queue.put": lambda: partial(Queue[Any](scope="process").put, Eventful()),
    "queue.get": lambda: _filled().get,
    "pickle": lambda: partial(pickling.dumps, Eventful()),
    "pieces": lambda: partial(pieces.dumps, (bytes(pieces.LARGE), Eventful())),
    "call": lambda: partial(pickling.dump_call, len, (Eventful(),), {}, "a task"),
}


def _filled() -> Queue[Any]:
    queue: Queue[Any] = Queue(scope="process")
    queue.put(Eventful())
    return queue


@pytest.mark.parametrize("call", VALUES)
def test_a_value_is_not_blamed(call: str, kind: type[Exception]) -> None:
    """Whatever its type is, it is raised as it is; and what was asked for can be asked for again."""
    ask = VALUES[call]()
    Eventful.events.append(partial(it_comes, kind))
    with pytest.raises(kind) as caught:
        ask()
    assert caught.type is kind
    ask()


def test_a_call_is_not_blamed_at_the_second_try(kind: type[Exception]) -> None:
    """Where pickle cannot and cloudpickle is about to, it comes out as well."""
    arguments = Eventful(), lambda: 0
    Eventful.events += [partial(it_comes, kind), int]
    with pytest.raises(kind) as caught:
        pickling.dump_call(len, arguments, {}, "a task")
    assert caught.type is kind


def test_a_value_may_fail_pickle_by_itself() -> None:
    """What it raises itself is for cloudpickle to find out about, as ever."""
    Eventful.events.append(partial(strike, LookupError("just now")))
    assert isinstance(pickling.loads(pickling.dumps(Eventful())), Eventful)


def test_a_submit_is_struck(kind: type[Exception]) -> None:
    """The alarm is heard in the call, which accepts no task; the pool goes on."""
    with Pool(1, backend="process") as pool:
        Eventful.events.append(partial(it_comes, kind))
        with pytest.raises(kind) as caught:
            pool.submit(len, [Eventful()])
        assert caught.type is kind
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
        assert pool.unfinished == 0


# ------------------------------------------------------------------ calls of the system


def _copied(monkeypatch: pytest.MonkeyPatch, strikes: Callable[..., object]) -> None:
    """Lay a payload down where one lay before."""
    lender = depot.Depot(nameless.make("depot"))
    try:
        lender.dump(bytes(1 << 20))  # and let go of at once
        monkeypatch.setattr(Windows, "_copy", staticmethod(strikes))
        lender.dump(bytes(1 << 20))
    finally:
        lender.close()


def _written(monkeypatch: pytest.MonkeyPatch, strikes: Callable[..., object]) -> None:
    lender = depot.Depot(nameless.make("depot"))
    try:
        monkeypatch.setattr(depot, "_write", strikes)
        lender.dump(bytes(1 << 20))
    finally:
        lender.close()


def _opened(monkeypatch: pytest.MonkeyPatch, strikes: Callable[..., object]) -> None:
    monkeypatch.setattr(nameless, "make", strikes)
    depot.open_depot()


def _looked_for(_: pytest.MonkeyPatch, strikes: Callable[..., object]) -> None:
    nothing = Path(os.devnull)
    available(Mock(read_text=strikes), nothing)


def _looked_for_in_group(_: pytest.MonkeyPatch, strikes: Callable[..., object]) -> None:
    group = Mock()
    group.__truediv__ = lambda *_: Mock(read_text=strikes)
    available(Path(os.devnull), group)


def _grown(monkeypatch: pytest.MonkeyPatch, strikes: Callable[..., object]) -> None:
    monkeypatch.setattr(os, "posix_fallocate", strikes)
    nameless.grow(0, 0, 1)


def _released(monkeypatch: pytest.MonkeyPatch, strikes: Callable[..., object]) -> None:
    fd = nameless.make("file")
    try:
        nameless.grow(fd, 0, mmap.PAGESIZE)
        monkeypatch.setattr(mmap, "mmap", strikes)
        nameless.release(fd, 0, mmap.PAGESIZE)
    finally:
        os.close(fd)


def _extended(monkeypatch: pytest.MonkeyPatch, strikes: Callable[..., object]) -> None:
    segments = Segments(memory.allocate(BASE_SIZE, spare=RESERVE), 0, fresh=True)
    extend: Any = Chain.extend
    once: Iterator[Any] = iter([strikes])

    def first_struck(chain: Chain, last: Segment, cells: int) -> Segment:
        made: Segment = next(once, extend)(chain, last, cells)  # the second time it would do
        return made

    monkeypatch.setattr(Chain, "extend", first_struck)
    segments.prepare(100_000)


def _borrowed(monkeypatch: pytest.MonkeyPatch, strikes: Callable[..., object]) -> None:
    monkeypatch.setattr(nameless, "borrow", strikes)
    block._find("1-abc", (1, 0), 1, (1, 0))


def _borrowed_arena(monkeypatch: pytest.MonkeyPatch, strikes: Callable[..., object]) -> None:
    monkeypatch.setattr(nameless, "borrow", strikes)
    arenas._find("1-abc", 1, 0, 1)


def _mapped(monkeypatch: pytest.MonkeyPatch, strikes: Callable[..., object]) -> None:
    """Open what was lent, whose room is to be used again all the same."""
    monkeypatch.setattr(mmap, "mmap", strikes)
    slots = Mock()
    try:
        borrowing._map(0, 0, 1, slots, 7)
    finally:
        slots.clear.assert_called_once_with(7)


SYSTEMS: list[Callable[[pytest.MonkeyPatch, Callable[..., object]], None]] = [
    _copied,
    _written,
    _opened,
    _looked_for,
    _looked_for_in_group,
    _grown,
    _mapped,
    _released,
    _extended,
    _borrowed,
    _borrowed_arena,
]


@pytest.mark.parametrize("call", SYSTEMS)
def test_the_system_is_not_blamed(
    call: Callable[..., None], kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is done another way, nor called lost or full, for what the system has not said."""
    with monkeypatch.context() as here, pytest.raises(kind) as caught:
        call(here, partial(it_comes, kind))
    assert caught.type is kind
