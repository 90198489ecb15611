"""What `import workpool` gives, and what it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import workpool


def printed_by(program: str) -> list[str]:
    """Run a program in an interpreter of its own and give the lines it printed."""
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", program],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.splitlines()


def test_the_import_is_light() -> None:
    """It loads none of what only some programs need, nor any module of its own but the first."""
    loaded = set(printed_by("import sys, workpool; print(*sys.modules, sep='\\n')"))
    assert {name for name in loaded if name.partition(".")[0] == "workpool"} == {"workpool"}
    heavy = {"asyncio", "attrs", "cloudpickle", "ctypes", "multiprocessing", "numpy", "threading"}
    before = set(printed_by("import sys; print(*sys.modules, sep='\\n')"))
    assert not heavy & (loaded - before)


def test_a_pool_of_threads_loads_nothing_of_processes() -> None:
    """Who uses threads does not pay for what starts processes, or for an event loop."""
    program = (
        "import sys; before = set(sys.modules); import workpool\n"
        "with workpool.Pool(2) as pool:\n"
        "    print(pool.submit(abs, -1).result(), pool.counter().add(), sum(pool.map(abs, [1, -2])))\n"
        "print({'asyncio', 'multiprocessing', 'ctypes', 'cloudpickle', 'mmap'} & (set(sys.modules) - before))"
    )
    assert printed_by(program) == ["1 1 3", "set()"]


def test_all_names_are_listed_before_they_are_loaded() -> None:
    """dir() tells an interactive user what there is, and every name that it tells can be had."""
    program = (
        "import workpool\n"
        "print(set(workpool.__all__) <= set(dir(workpool)))\n"
        "print(all(getattr(workpool, name) is not None for name in dir(workpool)))\n"
        "print(vars(workpool)['Pool'] is workpool.Pool)"
    )
    assert printed_by(program) == ["True", "True", "True"]


def test_both_lists_of_names_are_the_same() -> None:
    """One is for checkers of types, which read it as it is written, and one tells where each name is."""
    assert workpool.__all__ == sorted(workpool.__all__)
    assert set(workpool.__all__) == set(workpool._HOME)


def test_a_name_that_there_is_not() -> None:
    """A slip is an AttributeError that names package and name, as with any other module."""
    with pytest.raises(AttributeError, match="module 'workpool' has no attribute 'Pol'"):
        getattr(workpool, "Pol")  # noqa: B009 - a name that no checker of types lets pass
