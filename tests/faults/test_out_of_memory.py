"""A worker that the kernel ends for want of memory, in a cgroup that has little of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

MEMORY = 300 << 20  # bytes that the program and its workers may have

PROGRAM = """
import os, sys
from pathlib import Path

Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))

from workpool import Pool, WorkerLost

def grow():
    return len(bytes(1) * (2 << 30))

if __name__ == "__main__":
    with Pool(1, backend="process") as pool:
        error = pool.submit(grow).exception(timeout=60)
        assert isinstance(error, WorkerLost), error
        print(error.out_of_memory, "OOM killer" in str(error), pool.submit(abs, -3).result(timeout=60))
"""


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup of our own, where this system lets us have one."""
    root = Path("/sys/fs/cgroup")
    first_version = (root / "memory").is_dir()
    group = (root / "memory" if first_version else root) / f"workpool-test-{os.getpid()}"
    limit = group / ("memory.limit_in_bytes" if first_version else "memory.max")
    try:
        group.mkdir()
        limit.write_text(str(MEMORY))
        with suppress(OSError):
            (group / "memory.swap.max").write_text("0")
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"no memory cgroup to be had: {error}")
    yield group
    until = monotonic() + 20
    while (group / "cgroup.procs").read_text():  # the keeper is on its way out
        assert monotonic() < until
        os.sched_yield()
    group.rmdir()


def test_a_worker_that_takes_all_memory_is_told_from_other_deaths(
    small_cgroup: Path, tmp_path: Path
) -> None:
    """The error says that the kernel's OOM killer ended the worker, and the pool goes on."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    ran = subprocess.run(
        [sys.executable, str(script), str(small_cgroup)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("True True 3\n", "", 0)
