"""What all helpers share: scopes, the way to other processes, and what it costs to load them."""

from __future__ import annotations

import functools
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext
from typing import TYPE_CHECKING

import pytest

from workpool.errors import NotPicklable
from workpool.ipc import memory
from workpool.shared import Array, Box, Counter, Event, Lock, RateLimiter, Semaphore, Shared

if TYPE_CHECKING:
    from typing import assert_type

Context = ForkContext | SpawnContext | ForkServerContext
START_METHODS = ["fork", "spawn", "forkserver"]
CONTEXTS = [
    multiprocessing.get_context("fork"),
    multiprocessing.get_context("spawn"),
    multiprocessing.get_context("forkserver"),
]
MAKERS: list[Callable[..., object]] = [
    Counter,
    functools.partial(Shared, 1),
    Lock,
    Semaphore,
    Event,
    functools.partial(Array, 1),
    functools.partial(RateLimiter, 1),
]
NAMES = ["Counter", "Shared", "Lock", "Semaphore", "Event", "Array", "RateLimiter"]

_given: list[tuple[Counter, Shared[list[int]], Lock, Semaphore, Event]] = []


@pytest.fixture(scope="module", autouse=True)
def singletons() -> None:
    """Make what stays until the process ends, before the first test looks for leaks."""
    memory.allocate(1)
    forkserver.ensure_running()


def keep(*helpers: object) -> None:
    """Stand for an initializer: keep what came in initargs."""
    counter, shared, lock, semaphore, event = helpers
    assert isinstance(counter, Counter)
    assert isinstance(lock, Lock)
    assert isinstance(semaphore, Semaphore)
    assert isinstance(event, Event)
    _given.append((counter, shared, lock, semaphore, event))  # type: ignore[arg-type]  # of any type


def use(
    counter: Counter, shared: Shared[list[int]], lock: Lock, semaphore: Semaphore, event: Event
) -> int:
    """Use each of the helpers, in whatever process this is."""
    assert event.wait(30)
    with lock, semaphore:
        number = counter.add(2)
    with shared.lock() as box:
        box.value.append(number)
    return number


def use_what_was_given() -> int:
    """Use what the initializer kept."""
    return use(*_given[0])


def make_all() -> tuple[Counter, Shared[list[int]], Lock, Semaphore, Event]:
    """Make one of each, for processes."""
    return (
        Counter(scope="process"),
        Shared(list[int](), scope="process"),
        Lock(scope="process"),
        Semaphore(2, scope="process"),
        Event(scope="process"),
    )


@pytest.mark.parametrize("context", CONTEXTS, ids=START_METHODS)
def test_all_work_in_processes_of_multiprocessing(context: Context) -> None:
    """Passed as arguments, the helpers are the same ones in the process, however it was started."""
    helpers = counter, shared, _, _, event = make_all()
    processes = [context.Process(target=use, args=helpers) for _ in range(2)]
    for process in processes:
        process.start()
    event.set()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert counter.value == 4
    assert sorted(shared.get()) == [2, 4]


@pytest.mark.parametrize("context", CONTEXTS, ids=START_METHODS)
def test_all_work_in_initargs(context: Context) -> None:
    """Held in initargs of a standard pool, the helpers reach its workers."""
    helpers = counter, shared, _, _, event = make_all()
    event.set()
    with ProcessPoolExecutor(1, context, initializer=keep, initargs=helpers) as pool:
        assert [pool.submit(use_what_was_given).result(60) for _ in range(2)] == [2, 4]
    assert counter.value == 4
    assert shared.get() == [2, 4]


def test_all_reach_a_worker_that_was_given_the_arenas() -> None:
    """Pickled into a message, long after the worker's start, they name the same memory."""
    pairs = memory.exported()
    code = (
        "import sys, pickle; from workpool.ipc import memory; "
        f"memory.adopt({pairs!r}); from tests.unit.test_shared_home import use; "
        "print(use(*pickle.load(sys.stdin.buffer)))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        pass_fds=[fd for _, fd in pairs],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    helpers = counter, shared, _, _, event = make_all()
    event.set()
    out, _ = process.communicate(pickle.dumps(helpers), timeout=60)
    assert out.split() == [b"2"]
    assert counter.value == 2
    assert shared.get() == [2]


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_a_helper_for_threads_does_not_leave_its_process(make: Callable[..., object]) -> None:
    """Pickling one is refused, with its name and the way out."""
    helper = make(scope="thread")
    name = type(helper).__name__
    a = "an" if name in {"Array", "Event"} else "a"
    with pytest.raises(NotPicklable, match=f'^{a} {name} with scope="thread"'):
        pickle.dumps(helper)


class Named(Counter):
    """A helper with something of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(scope="process")
        self.name = name


class Slotted(Named):
    """A helper with a place of its own."""

    __slots__ = ("place",)

    place: str


class OnlySlotted(Event):
    """A helper with a place, and no dictionary."""

    __slots__ = ("place",)

    place: str


class Telling(Named):
    """A helper that says itself what goes along."""

    def __getstate__(self) -> dict[str, str]:
        return {"name": f"of {self.name}"}


def test_what_a_subclass_adds_goes_along() -> None:
    """A copy in another process has its attributes, and counts in the same place."""
    for kind in (Named, Slotted):
        helper = kind("pages")
        copy = pickle.loads(pickle.dumps(helper))
        assert (type(copy), copy.name) == (kind, "pages")
        helper.add(2)
        assert (copy.value, copy.scope) == (2, "process")
    slotted = Slotted("pages")
    slotted.place = "here"
    assert pickle.loads(pickle.dumps(slotted)).place == "here"
    event = OnlySlotted(scope="process")
    event.place = "there"
    assert pickle.loads(pickle.dumps(event)).place == "there"
    assert pickle.loads(pickle.dumps(Telling("pages"))).name == "of pages"
    bare = Slotted("pages")
    assert not hasattr(pickle.loads(pickle.dumps(bare)), "place")


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_an_unknown_scope_is_refused(make: Callable[..., object]) -> None:
    """The scope is checked at the call, and the message lists those there are."""
    for wrong in ("proces", None, 3):
        with pytest.raises(ValueError, match=f"scope must be 'thread' or 'process', not {wrong!r}"):
            make(scope=wrong)


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_a_helper_tells_its_scope(make: Callable[..., Counter]) -> None:
    """The scope is "thread" unless another is asked for, and survives pickling."""
    assert make().scope == "thread"
    assert pickle.loads(pickle.dumps(make(scope="process"))).scope == "process"


def test_helpers_for_threads_load_nothing_of_processes() -> None:
    """Neither multiprocessing nor ctypes nor mmap is needed to count in threads."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "from workpool.shared import Counter, Shared, Lock, Semaphore, Event\n"
        "Counter().add(); Shared(1).get(); Lock().acquire(); Semaphore().acquire(); Event().set()\n"
        "print({'multiprocessing', 'ctypes', 'mmap', 'asyncio'} & (set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert done.stdout.split() == [b"set()"]


def test_types_are_kept() -> None:
    """A type checker knows what is inside."""
    shared = Shared([1])
    if TYPE_CHECKING:
        assert_type(shared, Shared[list[int]])
        assert_type(shared.get(), list[int])
        assert_type(Counter().add(), int)
    with shared.lock() as box:
        if TYPE_CHECKING:
            assert_type(box, Box[list[int]])
            assert_type(box.value, list[int])
        box.value.append(2)
    doubled = shared.update(lambda values: values * 2)
    if TYPE_CHECKING:
        assert_type(doubled, list[int])
    assert doubled == [1, 2, 1, 2]
