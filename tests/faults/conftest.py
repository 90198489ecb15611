"""What the tests of faults share: pools that are ended, gates, and no core dumps."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Generator
from typing import Any, Protocol

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from workpool import Pool
from workpool.ipc import depot


class MakePool(Protocol):
    """Makes a pool, of processes unless told otherwise."""

    def __call__(self, max_workers: int = 2, **settings: Any) -> Pool: ...


@pytest.fixture(scope="session", autouse=True)
def no_core_dumps() -> None:
    """Workers that are crashed on purpose leave no files."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


@pytest.fixture(scope="session", autouse=True)
def quick_starts() -> Generator[None]:
    """Workers need not import pytest, which is the ``__main__`` of this run, at each of their many starts."""
    main = sys.modules["__main__"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main, "__spec__", None, raising=False)
        patch.delattr(main, "__file__", raising=False)
        yield


@pytest.fixture
def made() -> Generator[list[Pool]]:
    """Give a list of pools to be ended, whatever they are stuck in."""
    pools: list[Pool] = []
    yield pools
    for each in pools:
        in_background(each.kill).result()


@pytest.fixture
def default_handler() -> Generator[None]:
    """Have Ctrl-C raise KeyboardInterrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def loaded() -> None:
    """Have everything imported: the moments of an import would be taken for those of a call, and pass but once."""
    for backend in ("thread", "process", "inline"):
        with Pool(1, backend=backend) as pool:
            assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
            assert list(pool.map(tasks.double, iter(range(3)), buffersize=1)) == [0, 2, 4]


@pytest.fixture
def make_pool() -> Generator[MakePool]:
    """Give a maker of pools, which are ended after the test."""
    pools: list[Pool] = []

    def make(max_workers: int = 2, **settings: Any) -> Pool:
        settings.setdefault("backend", "process")
        made = Pool(max_workers, **settings)
        pools.append(made)
        return made

    yield make
    for each in pools:
        in_background(each.shutdown, cancel_futures=True).result()


@pytest.fixture
def pipes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have large payloads go through the pipes, as on systems that cannot lend memory."""
    monkeypatch.setattr(depot, "CAN_LEND", False)


@pytest.fixture
def pool(make_pool: MakePool) -> Pool:
    """Give a pool of one process, so that every death hits the one that works."""
    return make_pool(1)


# Asks for make_pool so that gates are opened before pools are waited for.
@pytest.fixture
def gate(make_pool: MakePool) -> Generator[Gate]:
    """Give a gate, which is opened after the test."""
    with Gate() as made:
        yield made
