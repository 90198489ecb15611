"""What an engine cannot keep is refused at the call: by name, with the value, and with what can keep it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.engines.jobs import WAIT, wait_for_ever
from tests.support import tasks
from tests.support.backends import needs_its_package
from workpool import Pool, Unsupported

pytestmark = pytest.mark.timeout(180)

Settings = dict[str, Any]

# With which settings no pool is made, and whom the refusal names instead.
ON_BOTH: list[tuple[Settings, str]] = [
    ({"time_limit": 9.0, "grace": 1.0}, 'grace=1.0.*backend="process"'),
    ({"logs": True}, 'logs=True.*backend="process"'),
    ({"capture": True}, 'capture=True.*backend="process"'),
    ({"blas_threads": 2}, 'blas_threads=2.*backend="process"'),
    ({"start_method": "spawn"}, "start_method='spawn'.*backend=\"process\""),
]
AT_THE_START = [
    *(("dask", *each) for each in ON_BOTH),
    *(("ray", *each) for each in ON_BOTH),
    ("dask", {"max_tasks_per_worker": 3}, 'max_tasks_per_worker=3.*backend="process"'),
    ("dask", {"address": "tcp://nowhere:1", "time_limit": 9.0}, r"time_limit=9\.0.*exclusive=True"),
    ("ray", {"client": object()}, "client= is nothing to backend='ray'"),
    ("ray", {"exclusive": True}, "exclusive= is nothing to backend='ray'"),
]


@pytest.mark.parametrize(("backend", "settings", "said"), AT_THE_START)
def test_a_pool_is_refused_with_what_its_engine_cannot_keep(
    backend: Any, settings: Settings, said: str
) -> None:
    """Before anything is started or connected to."""
    needs_its_package(backend)
    with pytest.raises(Unsupported, match=said):
        Pool(2, backend=backend, **settings)


def test_what_names_a_cluster_is_checked(dask_settings: Settings) -> None:
    """A client that is none, and a client beside an address; by name, and nothing is connected to."""
    distributed: Any = pytest.importorskip("distributed")
    address = dask_settings["address"]
    with pytest.raises(TypeError, match=r"client is a distributed\.Client, or None; got 'x'"):
        Pool(1, backend="dask", client="x")
    with (
        distributed.Client(address, set_as_default=False) as client,
        pytest.raises(ValueError, match=rf"address='{address}' and client="),
    ):
        Pool(1, backend="dask", client=client, address=address)


# Both clusters, whichever it is: asked for here, they are there before the check around a test looks.
@pytest.fixture
def pool(engine: str, dask_settings: Settings, ray_settings: Settings) -> Generator[Pool]:
    """Give a pool on Dask's cluster, alone or among others, or on Ray."""
    settings: Settings = ray_settings
    if engine != "ray":
        settings = dask_settings | {"exclusive": engine == "dask alone"}
    with Pool(1, **settings) as made:
        yield made


@pytest.mark.parametrize("engine", ["dask alone", "dask", "ray"])
def test_a_term_that_no_engine_can_keep_is_refused(pool: Pool) -> None:
    """At options(), and at the call that would need memory in common; the pool goes on."""
    named = "grace=1" if pool._ends_tasks else "time_limit=9"
    with pytest.raises(Unsupported, match=rf'{named}\.0 cannot be kept.*backend="process"'):
        pool.options(time_limit=9.0, grace=1.0)
    with pytest.raises(Unsupported, match=r'array\(\(3,\)\).*shared\(\).*backend="process"'):
        pool.array(3)
    assert pool.submit(tasks.double, 2).result(WAIT) == 4


@pytest.mark.parametrize("engine", ["dask"])
def test_among_others_nothing_is_ended(pool: Pool) -> None:
    """A cluster's workers run other people's tasks as well: what would end one is refused, or says no."""
    with pytest.raises(Unsupported, match=r"time_limit=9\.0.*exclusive=True"):
        pool.options(time_limit=9.0)
    with pytest.raises(Unsupported, match=r"kill_after=1\.0"):
        pool.group(kill_after=1.0)


@pytest.mark.parametrize("engine", ["dask alone"])
def test_resources_that_a_worker_lacks_are_refused(pool: Pool) -> None:
    """A pool that has the workers to itself may send a task to any; Ray's side is in test_ray_room.py."""
    error = pool.options(resources={"tricorder": 2}).submit(wait_for_ever).exception(WAIT)
    assert isinstance(error, Unsupported)
    assert "tricorder" in str(error)
