"""BLAS and OpenMP in worker processes: each has its share of the cores, unless somebody has said otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.gates import DEADLINE
from workpool import Pool, Unsupported
from workpool._compat import LINUX
from workpool.backends.process.cpus import usable_cpus
from workpool.ipc import blas

VARIABLES = [
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
]


def environment() -> dict[str, str]:
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def threads_of_numpy(_: object = None) -> tuple[list[int], int]:
    """Multiply with numpy; tell what its BLAS may use, and how many threads came to be for it."""
    before = len(os.listdir("/proc/self/task")) if "numpy" not in sys.modules else None
    import numpy as np

    matrix = np.ones((500, 500))
    assert (matrix @ matrix)[0, 0] == 500
    made = -1 if before is None else len(os.listdir("/proc/self/task")) - before
    return blas.loaded_threads(), made


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without any of the variables."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_a_worker_has_its_share(method: Any) -> None:
    """By default the usable cores are shared out among the workers, and the program's own is not changed."""
    workers = usable_cpus()
    with Pool(workers, backend="process", start_method=method) as pool:
        assert pool.submit(environment).result(DEADLINE) == dict.fromkeys(VARIABLES, "1")
        assert "blas_threads=1" in repr(pool)
    assert environment() == {}


def test_few_workers_have_more_each() -> None:
    """One worker may use all cores."""
    with Pool(1, backend="process") as pool:
        everything = dict.fromkeys(VARIABLES, str(usable_cpus()))
        assert pool.submit(environment).result(DEADLINE) == everything


def test_the_share_can_be_given() -> None:
    """A number is what each worker gets."""
    with Pool(1, backend="process", blas_threads=3) as pool:
        assert pool.submit(environment).result(DEADLINE) == dict.fromkeys(VARIABLES, "3")


def test_none_leaves_it_to_the_libraries() -> None:
    """The way out: nothing is set."""
    with Pool(2, backend="process", blas_threads=None) as pool:
        assert pool.submit(environment).result(DEADLINE) == {}
        assert "blas_threads=None" in repr(pool)


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set has its way, also over libraries that look at it after their own."""
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    with Pool(2, backend="process", blas_threads=2) as pool:
        assert pool.submit(environment).result(DEADLINE) == {
            **dict.fromkeys(VARIABLES, "2"),
            "MKL_NUM_THREADS": "7",
        }
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with Pool(2, backend="process", blas_threads=2) as pool:
        assert pool.submit(environment).result(DEADLINE) == {
            "MKL_NUM_THREADS": "7",
            "OMP_NUM_THREADS": "5",
            "NUMBA_NUM_THREADS": "2",
            "VECLIB_MAXIMUM_THREADS": "2",
        }


@pytest.mark.skipif(not LINUX, reason="asks /proc")
@pytest.mark.skipif(usable_cpus() < 2, reason="one core leaves nothing to share")
@pytest.mark.parametrize("threads", [1, 2])
def test_numpy_starts_no_more_threads(threads: int) -> None:
    """The real library: numpy's BLAS may use so many threads, and starts no more of them."""
    pytest.importorskip("numpy")
    with Pool(1, backend="process", blas_threads=threads) as pool:
        may_use, made = pool.submit(threads_of_numpy).result(DEADLINE)
    assert set(may_use) == {threads}
    assert made == threads - 1


SCRIPT = """
import numpy, sys
from workpool import Pool
from workpool.ipc import blas

before = blas.loaded_threads()
with Pool(2, backend="process", start_method="fork", blas_threads=1) as pool:
    print(set(pool.submit(blas.loaded_threads).result()))
print(blas.loaded_threads() == before)
"""


@pytest.mark.skipif(not LINUX, reason="asks /proc")
@pytest.mark.parametrize(("omp", "says"), [("", "{1}"), ("2", "{2}")])
def test_a_forked_worker_tells_what_is_loaded_already(omp: str, says: str) -> None:
    """Libraries that came along with a fork have looked at the environment before, and are told; unless it was set."""
    pytest.importorskip("numpy")
    if omp and usable_cpus() < 2:
        pytest.skip("one core leaves nothing to share")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": omp},
    )
    assert (done.stdout.split(), done.stderr) == ([says, "True"], "")


@pytest.mark.parametrize(
    ("wrong", "error"), [(0, ValueError), (-1, ValueError), ("all", ValueError), (1.5, TypeError)]
)
def test_what_is_no_number_of_threads_is_refused(wrong: Any, error: type[Exception]) -> None:
    """The message names the setting."""
    with pytest.raises(error, match="blas_threads"):
        Pool(1, backend="process", blas_threads=wrong)


@pytest.mark.parametrize("backend", ["thread", "inline"])
def test_threads_share_the_libraries_of_their_process(backend: Any) -> None:
    """What cannot be kept there is refused, with the way out."""
    with pytest.raises(Unsupported, match=r'backend="process", or set OMP_NUM_THREADS'):
        Pool(1, backend=backend, blas_threads=1)
