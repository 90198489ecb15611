"""The example for clusters prints the same on each engine as on the processes of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.test_examples import EXAMPLES, promised
from tests.support.backends import needs_its_package

pytestmark = pytest.mark.timeout(150)  # a cluster takes its time to start


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_the_example_prints_the_same_on_a_cluster(backend: str, tmp_path: Path) -> None:
    """A cluster on this machine, which the pool starts and ends."""
    needs_its_package(backend)
    example = EXAMPLES / "cluster.py"
    done = subprocess.run(
        [sys.executable, str(example), "--backend", backend],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == promised(example)
