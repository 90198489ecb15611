"""The one connection of a program to Ray: a pool ends what it has begun, and never what the program has."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.engines.jobs import WAIT
from tests.support.programs import Program
from workpool.backends.ray.connection import identity_of

pytestmark = pytest.mark.timeout(180)


@pytest.mark.usefixtures("ray_package")
def test_a_pool_leaves_a_ray_alone_that_is_not_the_one_it_began() -> None:
    """The program ends the pool's Ray and begins its own: no end of any pool touches that."""
    script = """
    import os, ray, shutil, tempfile
    folder = tempfile.mkdtemp(prefix="workpool-", dir="/tmp")  # short: sockets are in there
    for of_the_ray_for_tests in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
        os.environ.pop(of_the_ray_for_tests, None)
    first = Pool(1, backend=BACKEND)
    ray.shutdown()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=40, _temp_dir=folder)
    mine = ray.put(5)
    second = Pool(1, backend=BACKEND)
    print(second.submit(tasks.double, 2).result())
    second.shutdown()
    print(ray.is_initialized(), ray.get(mine))
    first.shutdown()
    print(ray.is_initialized(), ray.get(mine), flush=True)
    ray.shutdown()
    shutil.rmtree(folder)
    """
    with Program(script, "ray", flags=("-W", "ignore")) as program:
        assert program.lines(3, WAIT) == ["4", "True 5", "True 5"]
        assert program.end(WAIT).code == 0


def test_a_connection_that_is_just_being_ended_is_none() -> None:
    """Another thread may be in the middle of ray.shutdown(): no fault of ours may come of that."""

    def torn_down() -> None:
        raise AssertionError

    assert identity_of(SimpleNamespace(is_initialized=bool, get_runtime_context=torn_down)) is None
    connected = SimpleNamespace(is_initialized=lambda: True, get_runtime_context=torn_down)
    assert identity_of(connected) is None
