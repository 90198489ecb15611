"""One suite, every backend: the fixtures that give a test its backend, pools and gates.

A test that asks for ``kind``, ``pool`` or ``make_pool`` runs once for each backend in
the table (tests/support/backends.py). One that needs an ability says which::

    @pytest.mark.needs("concurrent")

and one about the lack of it says ``@pytest.mark.lacks("limits")``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pytest

from tests.support.backends import KINDS, Kind
from tests.support.engines import shared_clusters
from tests.support.gates import Gate, in_background
from tests.support.hearing import LOGGER, Kept
from tests.support.holding import workers_busy
from workpool import Pool


class MakePool(Protocol):
    """Makes a pool of the backend under test."""

    def __call__(self, max_workers: int | None = 2, **settings: Any) -> Pool: ...


Busy = Callable[[Pool], AbstractContextManager[Gate]]


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks of this folder."""
    config.addinivalue_line("markers", "needs(*abilities): only backends that have them all")
    config.addinivalue_line("markers", "lacks(*abilities): only backends that have none of them")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each backend that it is about."""
    if "kind" not in metafunc.fixturenames:
        return
    needed = {a for mark in metafunc.definition.iter_markers("needs") for a in mark.args}
    lacked = {a for mark in metafunc.definition.iter_markers("lacks") for a in mark.args}
    kinds = [k for k in KINDS if needed <= k.abilities and not lacked & k.abilities]
    metafunc.parametrize("kind", kinds, ids=[k.name for k in kinds])


@pytest.fixture(scope="session", autouse=True)
def clusters() -> Generator[None]:
    """Have the clusters of the engines under test."""
    with shared_clusters(*(each.name for each in KINDS)):
        yield


@pytest.fixture
def make_pool(kind: Kind) -> Generator[MakePool]:
    """Give a maker of pools, which are ended after the test."""
    pools: list[Pool] = []

    def make(max_workers: int | None = 2, **settings: Any) -> Pool:
        made = Pool(max_workers, **kind.settings, **settings)
        pools.append(made)
        return made

    yield make
    for each in pools:
        in_background(each.shutdown, cancel_futures=True).result()


@pytest.fixture
def pool(make_pool: MakePool) -> Pool:
    """Give a pool of two workers."""
    return make_pool()


# Asks for make_pool so that gates are opened before pools are waited for.
@pytest.fixture
def make_gate(make_pool: MakePool) -> Generator[Callable[[], Gate]]:
    """Give a maker of gates, which are opened after the test."""
    gates: list[Gate] = []

    def make() -> Gate:
        gates.append(Gate())
        return gates[-1]

    yield make
    for each in gates:
        each.open()


@pytest.fixture
def gate(make_gate: Callable[[], Gate]) -> Gate:
    """Give a gate."""
    return make_gate()


@pytest.fixture
def busy(kind: Kind) -> Busy:
    """Give what keeps all workers of a pool busy for the length of a block."""
    return lambda held: workers_busy(held, kind)


@pytest.fixture
def kept() -> Generator[Kept]:
    """Give a handler of the root logger, which lets INFO through for the tests' logger."""
    handler, root, logger = Kept(), logging.getLogger(), logging.getLogger(LOGGER)
    root.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(logging.NOTSET)
    root.removeHandler(handler)
    logging.getLogger("workpool.stdout").setLevel(logging.NOTSET)
    logging.getLogger("workpool.stderr").setLevel(logging.NOTSET)
