"""A pool on a Ray that has no room for it: what is missing is said early, and it begins when there is room."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from importlib import import_module
from typing import Any

import pytest

from tests.engines.conftest import MakePool
from tests.engines.jobs import WAIT
from tests.support import tasks
from tests.support.gates import in_background
from tests.support.queues import until
from workpool import WorkerStartFailed
from workpool.backends.ray import actors

pytestmark = pytest.mark.timeout(180)


class Full:
    """A Ray all of whose CPUs somebody else has."""

    def __init__(self) -> None:
        self._util: Any = import_module("ray.util")
        self._ray: Any = import_module("ray")
        until(lambda: len(self._nodes()) == 1)  # a second one, of a test before this, is gone
        # Not by cluster_resources(), which counts what was there for a while.
        self._cpus = self._nodes()[0]["Resources"]["CPU"]
        self._taken: Any = None
        self.leave(0)

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def leave(self, cpus: int) -> None:
        """Leave so many CPUs to others."""
        self.free()
        self._taken = self._util.placement_group([{"CPU": self._cpus - cpus}])
        assert self._taken.wait(WAIT)

    def free(self) -> None:
        """Give all of it back."""
        taken, self._taken = self._taken, None
        if taken is not None:
            self._util.remove_placement_group(taken)


@pytest.fixture
def full(ray_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Generator[Full]:
    """Have the Ray that is there for tests full, and a pool notice it soon."""
    monkeypatch.setattr(actors, "_SAY", 0.5)
    monkeypatch.setattr(actors, "_AGAIN", 0.1)
    made = Full()
    yield made
    made.free()


class Listener(logging.Handler):
    """Hears the library's warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words: list[str] = []
        self._heard = threading.Semaphore(0)

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(record.getMessage())
        self._heard.release()

    def one(self) -> str:
        """Wait for a warning, and give it."""
        assert self._heard.acquire(timeout=WAIT)
        return self.words[-1]


@pytest.fixture
def warned() -> Generator[Listener]:
    """Listen to the library's warnings."""
    listener, logger = Listener(), logging.getLogger("workpool")
    logger.addHandler(listener)
    yield listener
    logger.removeHandler(listener)


def test_a_full_cluster_is_told_and_then_waited_for(
    make_pool: MakePool, full: Full, warned: Listener
) -> None:
    """The warning names what is missing, how much is free, and the way out; with room, the task runs."""
    pool = make_pool(2, name="late")
    waiting = [pool.submit(tasks.double, n) for n in range(2)]
    said = warned.one()
    assert said.startswith(
        "late waits for room on the Ray cluster: a worker asks for 1 CPU, of which 0 is free"
    )
    assert "(8 in the whole cluster)" in said
    assert "fewer workers (max_workers)" in said
    full.free()
    assert [task.result(WAIT) for task in waiting] == [0, 2]
    assert len(warned.words) == 1, "of two workers, which lack the same"
    assert pool.stats().lost == 0


def test_a_pool_without_room_ends_at_once(
    make_pool: MakePool, full: Full, warned: Listener
) -> None:
    """shutdown() that cancels what is queued does not wait for workers that may never come."""
    pool = make_pool(2)
    waiting = pool.submit(tasks.double, 1)
    warned.one()
    in_background(pool.shutdown, cancel_futures=True).result(10.0)
    assert waiting.cancelled()


def test_a_pool_that_never_finds_room_fails(
    make_pool: MakePool, full: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the end what waits fails with the same words, and so does what comes after it."""
    monkeypatch.setattr(actors, "_FULL", 1.0)
    pool = make_pool(1)
    for task in (pool.submit(tasks.double, 1), pool.submit(tasks.double, 2)):
        error = task.exception(WAIT)
        assert isinstance(error, WorkerStartFailed)
        assert "asks for 1 CPU, of which 0 is free" in str(error)
    with pytest.raises(WorkerStartFailed):
        pool.submit(tasks.double, 3)


def test_one_worker_that_has_room_works_for_all(
    make_pool: MakePool, full: Full, warned: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool of which a part finds room is no pool without room: it goes on with that part."""
    full.leave(1)
    pool = make_pool(2)
    assert list(pool.map(tasks.double, range(20), chunksize=1)) == [2 * n for n in range(20)]
    warned.one()
    monkeypatch.setattr(actors, "_FULL", 0.0)
    backend: Any = pool._backend
    (waits,) = [far for far in backend.engine._actors._fars if not far.life]
    looked = threading.Event()
    waits.slot.post(lambda: backend.engine._actors._look_for_room(waits))
    waits.slot.post(looked.set)
    assert looked.wait(WAIT)
    assert list(pool.map(tasks.double, range(20), chunksize=1)) == [2 * n for n in range(20)]


def test_resources_that_no_node_has_are_told(
    make_pool: MakePool, warned: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may come with another node, so the task waits; but its program hears of it, and can end it."""
    monkeypatch.setattr(actors, "_SAY", 0.5)
    pool = make_pool(1)
    task = pool.options(resources={"tricorder": 2}).submit(tasks.double, 1)
    assert (
        "2 tricorder, of which 0 is free on any node (0 in the whole cluster), and no node has more than 0"
        in warned.one()
    )
    assert task.cancel(kill=True)
    assert pool.submit(tasks.double, 2).result(WAIT) == 4
