"""What a pool promises on Dask beside what all backends promise; on a real Dask on this machine."""

from __future__ import annotations

import pytest

from tests.support.programs import Program

pytestmark = pytest.mark.timeout(120)  # a cluster takes its time to start

WAIT = 90.0  # seconds; what has not happened by then never will


def test_what_tasks_print_goes_to_the_programs_output() -> None:
    """On a cluster that the pool has started; also more than a pipe holds, which nobody would empty."""
    pytest.importorskip("distributed")
    script = """
    def speak(n):
        print("x" * 99_999, flush=True)
        return n
    with Pool(1, backend=BACKEND) as pool:
        print(pool.submit(speak, 7).result())
    """
    with Program(script, "dask") as program:
        ended = program.end(WAIT)
    assert ended.code == 0, ended.errors
    assert sorted(ended.lines) == ["7", "x" * 99_999]
