"""What is loaded when: a pool costs what it uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workpool._compat import has_interpreters

LOADED = "import sys; {}; print(' '.join(sorted(sys.modules)))"
HEAVY = {"multiprocessing", "asyncio", "numpy", "cloudpickle", "sqlite3", "tqdm", "rich", "joblib"}


def modules_after(code: str) -> set[str]:
    """Run code in a fresh interpreter; give the names of all modules that were loaded."""
    ran = subprocess.run(
        [sys.executable, "-c", LOADED.format(code)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        # What measures coverage is loaded first, and loads much.
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
    )
    return set(ran.stdout.split())


def test_importing_workpool_loads_nothing_that_works() -> None:
    """``import workpool`` gives names; what they stand for is loaded when they are used."""
    loaded = modules_after("import workpool")
    assert not loaded & (HEAVY | {"attr", "concurrent.futures", "logging", "threading"})


def test_a_pool_of_threads_loads_no_processes() -> None:
    """Threads need no multiprocessing, no asyncio, no pickling, and no help with types or classes."""
    loaded = modules_after(
        "from workpool import Pool; pool = Pool(1); pool.submit(int).result(); pool.shutdown()"
    )
    assert not loaded & (HEAVY | {"attr", "ctypes", "typing_extensions", "workpool.ipc.pickling"})


@pytest.mark.parametrize("use", ["pool.submit(int).result()", "list(pool.map(abs, range(9)))"])
def test_the_first_task_loads_nothing(use: str) -> None:
    """All that the default pool needs is there when it has been imported: the first task does not wait."""
    before = modules_after("from workpool import Pool")
    after = modules_after(f"from workpool import Pool; pool = Pool(1); {use}; pool.shutdown()")
    assert after - before == set()


@pytest.mark.parametrize(
    "settings",
    [
        "backend='process'",
        "backend='process', start_method='spawn'",
        "backend='process', start_method='fork'",
        "backend='process', blas_threads=None, logs=True, capture=True",
        "backend='process', initializer=print",
        pytest.param(
            "backend='interpreter'",
            marks=pytest.mark.skipif(not has_interpreters(), reason="this Python has none"),
        ),
    ],
)
def test_the_thread_of_a_worker_loads_nothing(settings: str) -> None:
    """A fork meanwhile leaves the child no module half loaded: who makes the pool has loaded all a start needs."""
    script = f"from workpool import Pool; pool = Pool(1, {settings}); {{}}; pool.shutdown()"
    before = modules_after(script.format("pass"))
    after = modules_after(script.format("pool.submit(abs, 1).result()"))
    assert after - before - {"__mp_main__"} == set()  # a second name of __main__


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_worker_process_loads_nothing_to_make_pools_with(tmp_path: Path, method: str) -> None:
    """It imports a program that imports Pool, and is ready sooner without what only a pool needs."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from workpool import Pool\n"
        "ONLY_A_POOL = 'workpool.settings', 'workpool.mapcall', 'workpool.scheduling.scheduler'\n"
        "def loaded():\n"
        "    return [name in sys.modules for name in ('workpool.pool', *ONLY_A_POOL)]\n"
        "def nested():\n"
        "    with Pool(1) as pool:\n"
        "        assert list(pool.map(abs, [-1])) == [1]\n"
        "        return pool.submit(loaded).result()\n"
        "if __name__ == '__main__':\n"
        f"    with Pool(1, backend='process', start_method={method!r}) as pool:\n"
        "        print(pool.submit(loaded).result(), pool.submit(nested).result())\n"
    )
    ran = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
    )
    assert ran.stdout == f"{[True, False, False, False]} {[True] * 4}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such processes")
def test_a_worker_process_loads_little() -> None:
    """What only a failure or a pool needs is left for later: the first worker waits for all that is loaded."""
    loaded = modules_after("import workpool.ipc.keeper, workpool.ipc.worker, multiprocessing.spawn")
    later = {"concurrent.futures", "logging", "traceback", "random", "inspect", "workpool.errors"}
    assert not loaded & (HEAVY - {"multiprocessing"} | later)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such processes")
def test_the_keeper_starts_before_multiprocessing_is_loaded() -> None:
    """It takes as long to get ready as that takes to load: the first pool of a program waits for one of the two."""
    script = (
        "import sys; from workpool import Pool; from workpool.ipc import fresh; seen = []; execute = fresh._execute; "
        "fresh._execute = lambda *to: (seen.append('multiprocessing' in sys.modules), execute(*to))[1]; "
        "pool = Pool(1, backend='process'); assert pool.submit(abs, -1).result() == 1; pool.shutdown(); "
        "assert seen == [False]"
    )
    assert "multiprocessing" in modules_after(script)


def test_a_worker_that_is_an_interpreter_loads_little() -> None:
    """It loads all of its modules anew: what only a failure, a record or a time limit needs is left for later."""
    loaded = modules_after("import workpool.ipc.guest")
    later = {"concurrent.futures", "logging", "traceback", "ctypes", "inspect", "workpool.errors"}
    assert not loaded & (HEAVY | later)
