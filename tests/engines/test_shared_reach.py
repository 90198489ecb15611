"""Who can use what a pool shares on an engine: the program and its tasks, as long as the pool is there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engines.jobs import WAIT
from tests.support.backends import needs_its_package
from tests.support.programs import Program

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_shared_state_is_refused_in_a_forked_child(backend: Any) -> None:
    """The threads that lead there did not come along, neither from the program nor from a worker of it."""
    needs_its_package(backend)
    script = """
    import os, warnings
    from workpool import ForkedPool
    warnings.simplefilter("ignore")
    def ask_in_a_child(count):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                count.add()
            except ForkedPool as error:
                os.write(write, str(error).encode())
            finally:
                os._exit(0)
        os.close(write)
        with open(read) as said:
            text = said.read()
        os.waitpid(child, 0)
        return "forked" in text
    if __name__ == "__main__":
        with Pool(1, backend=BACKEND) as pool:
            count = pool.counter()
            count.add()
            print(ask_in_a_child(count), pool.submit(ask_in_a_child, count).result(), count.value)
    """
    with Program(script, backend) as program:
        assert program.line(WAIT) == "True True 1"
        assert program.end(WAIT).code == 0


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_shared_state_is_lost_with_its_pool(backend: Any) -> None:
    """Also where nothing of the engine is left in the program."""
    needs_its_package(backend)
    script = """
    from workpool import SharedStateLost
    with Pool(1, backend=BACKEND) as pool:
        count = pool.counter(3)
        print(count.value)
    try:
        count.value
    except SharedStateLost as error:
        print("ended" in str(error))
    """
    with Program(script, backend) as program:
        ended = program.end(WAIT)
    assert (ended.code, ended.lines, ended.errors) == (0, ["3", "True"], "")
