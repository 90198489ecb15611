"""What of a call can travel with an order to an engine, and what comes back: each failure is one call's own."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Generator
from functools import partial
from types import FunctionType, ModuleType
from typing import Any, ClassVar

import pytest

from tests.support import slots, tasks
from tests.support.gates import DEADLINE
from tests.support.loopback import register
from tests.support.scripts import ROOT
from workpool import Current, NotPicklable, Pool, current
from workpool.backends.engine import remote
from workpool.backends.engine.remote import Life
from workpool.ipc import pickling

register()


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool of one slot."""
    kind: Any = "loopback"
    with Pool(1, backend=kind) as made:
        yield made


@pytest.fixture
def uncollected() -> Generator[None]:
    """Have what is in a cycle stay."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("odd", [0, 1, 3])
@pytest.mark.parametrize("size", [2, 4])
def test_an_item_that_cannot_travel_fails_alone(pool: Pool, odd: int, size: int) -> None:
    """Its neighbours in the chunk run, before and after it, and its error names the item."""
    items: list[object] = [(n,) for n in range(4)]
    items[odd] = tasks.Locked()
    outcomes = list(pool.map(tasks.echo_none, items, chunksize=size, return_exceptions=True))
    error = outcomes.pop(odd)
    assert isinstance(error, NotPicklable)
    assert f"item {odd} of map(echo_none)" in str(error)
    assert error.part == "argument"
    assert outcomes == [1, 1, 1]


def test_a_function_that_cannot_travel_fails_every_item(pool: Pool) -> None:
    """The error is each item's, and it names the function; the pool goes on."""
    locked: Any = tasks.Locked()
    fn: Callable[[int], int] = partial(tasks.call, locked)
    outcomes: list[Any] = list(pool.map(fn, range(4), chunksize=2, return_exceptions=True))
    assert [type(outcome) for outcome in outcomes] == [NotPicklable] * 4
    assert {outcome.part for outcome in outcomes} == {"function"}
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


def test_an_argument_that_cannot_be_rebuilt_is_told(pool: Pool) -> None:
    """What fails to come out of its pickle over there fails its call, with the worker's traceback."""
    error = pool.submit(tasks.echo, tasks.ExplodesWhenRebuilt()).exception(DEADLINE)
    assert isinstance(error, NotPicklable)
    assert error.part == "argument"
    assert "echo" in str(error)
    assert "cannot be unpickled in the worker: ValueError: cannot be rebuilt" in str(error)
    assert "explode" in str(error.__cause__)


def test_a_result_that_cannot_be_rebuilt_is_told(pool: Pool) -> None:
    """What came back and fails to come out of its pickle fails its call, and no other of its chunk."""
    error = pool.submit(tasks.make_exploding).exception(DEADLINE)
    assert isinstance(error, NotPicklable)
    assert error.part == "result"
    assert "came back but cannot be unpickled: ValueError" in str(error)
    fns = [tasks.make_exploding, tasks.worker_index]
    results = pool.map(tasks.call, fns, chunksize=2, return_exceptions=True)
    assert [type(outcome) for outcome in results] == [NotPicklable, int]


# A program whose functions and classes are those of its __main__, and what it would send.
SENDER = """
import sys
from workpool.backends.engine import orders
from workpool.scheduling.mapjob import Chunk
from tests.support.loopback import register
from workpool import Pool

class Mine:
    def __init__(self, n):
        self.n = n

def times_three(it):
    return 3 * it.n if isinstance(it, Mine) else 3 * it

register()
sent = []
with Pool(1, backend="loopback") as pool:
    engine = pool._backend.engine
    send = engine.send
    engine.send = lambda slot, flight, order: (sent.append(order), send(slot, flight, order))
    pool.submit(times_three, 4).result()
    pool.submit(times_three, Mine(5)).result()
    list(pool.map(times_three, [Mine(6), Mine(7)], chunksize=2))
    queue = pool.queue()
    queue.put(Mine(8))
    sys.stdout.write(repr(sent))
"""

RECEIVER = """
import sys
from workpool.backends.engine.remote import Life
life = Life("pool", 0, None)
for order in eval(sys.stdin.read()):
    print(life.run(order)[3])
"""


def python(code: str, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        cwd=ROOT,
        input=given,
        stdout=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
    )
    return done.stdout


def test_what_is_of_the_program_itself_goes_along_whole() -> None:
    """A worker over there has a __main__ of its own, and runs functions and classes of ours all the same."""
    assert python(RECEIVER, python(SENDER)).splitlines() == ["(12,)", "(15,)", "(18, 21)"]


# The same of what its workers do first.
SETS_UP = """
import sys
__file__ = "program.py"  # as of a script, which workers on this machine could import
from contextlib import contextmanager
from tests.support.loopback import register
from workpool import Pool

class Mine:
    pass

def begin(it):
    print(type(it).__name__)

@contextmanager
def context():
    print("entered")
    yield Mine()

if __name__ == "__main__":
    register()
    pool = Pool(1, backend="loopback", initializer=begin, initargs=(Mine(),), worker_context=context)
    sys.stdout.write(repr(pool._backend.engine.setup))
    pool.shutdown()
"""

SET_UP = """
import sys
from workpool.backends.engine.remote import Life
print(type(Life("pool", 0, eval(sys.stdin.read())).resource).__name__)
"""


def test_what_workers_do_first_goes_along_whole() -> None:
    """Initializer, its arguments and the context may be of the program itself."""
    assert python(SET_UP, python(SETS_UP)).splitlines() == ["Mine", "entered", "Mine"]


LOCKED: Any = tasks.Locked()


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"initializer": print, "initargs": (LOCKED,)}, "initargs"),
        ({"initializer": partial(tasks.call, LOCKED)}, "initializer"),
        ({"worker_context": partial(tasks.call, LOCKED)}, "worker_context"),
    ],
)
def test_a_setup_that_cannot_travel_is_refused_by_part(settings: dict[str, Any], part: str) -> None:
    """When the pool is made: the error names pool and part, and the way out."""
    with pytest.raises(NotPicklable, match=f'{part} of Mill cannot go.*backend="thread"') as caught:
        slots.make(1, name="Mill", **settings)
    assert caught.value.part == part


def order(fn: Callable[..., Any], *data: Any) -> tuple[Any, ...]:
    return (0, 0, 0, None, 1, remote.RAW_ITEM, pickling.dumps(fn), data)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[int], int]]:
    """Give more functions of a module than anyone keeps."""
    module = ModuleType("many")
    for n in range(100):
        fn = FunctionType(tasks.double.__code__, {}, f"double_{n}")
        fn.__module__, fn.__qualname__ = module.__name__, fn.__name__
        setattr(module, fn.__name__, fn)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return [getattr(module, f"double_{n}") for n in range(100)]


def test_a_life_keeps_few_functions(many: list[Callable[[int], int]]) -> None:
    """However many functions a worker sees, it keeps a bounded number unpickled, and runs them all."""
    life = Life("pool", 0, None)
    kept: list[int] = []
    for n, fn in enumerate(many):
        assert life.run(order(fn, n))[3] == (2 * n,)
        kept.append(len(life._functions))
    assert 1 < max(kept) <= 64


def unwanted(_: object) -> bool:
    return current().cancelled


def numbered(number: int) -> tuple[Any, ...]:
    return number, *order(unwanted, None)[1:]


def test_an_order_that_comes_after_its_end_was_asked_for_sees_it() -> None:
    """On its way it may be overtaken by what is said of it; that is kept for this one alone, and not for ever."""
    life = Life("pool", 0, None)
    life.ask_to_end(7)
    outcomes = [life.run(numbered(n))[3] for n in (6, 7, 7)]
    assert outcomes == [(False,), (True,), (False,)]
    for n in range(100_000):
        life.ask_to_end(n)
    assert [life.run(numbered(n))[3] for n in (0, 99_999)] == [(False,), (True,)]


class Tool:
    """What a task needs; it can be told when it is gone."""

    met: ClassVar[list[weakref.ref[Tool]]] = []
    seen: ClassVar[list[Current]] = []

    def __call__(self, n: int) -> int:
        Tool.met.append(weakref.ref(self))
        Tool.seen.append(current())
        return n


def test_no_worker_holds_a_function_after_its_order(
    monkeypatch: pytest.MonkeyPatch, uncollected: None
) -> None:
    """At once, not at the next round of the cyclic collector; also where the task's surroundings are kept."""
    monkeypatch.setattr(Tool, "met", [])
    monkeypatch.setattr(Tool, "seen", [])
    assert Life("pool", 0, None).run(order(Tool(), 1))[3] == (1,)
    assert [tool() for tool in Tool.met] == [None]
    assert [(seen.task_name, seen.cancelled) for seen in Tool.seen] == [("Tool", False)]
