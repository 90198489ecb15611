"""The interpreters that workers live in: how they are started, and what their garbage collector has to look at."""

from __future__ import annotations

import gc
import multiprocessing.spawn
import os
import stat
import sys
from pathlib import Path

import pytest

from tests.support.gates import DEADLINE
from workpool import Pool
from workpool.backends.base import StartMethod
from workpool.ipc import fresh

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such processes")


def run(code: str, fds: list[int]) -> int:
    """Run code in a fresh interpreter, and give its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(fresh.run_python(code, fds), 0)[1])


def test_it_has_the_descriptors_it_was_given_and_no_others() -> None:
    """Whatever is inheritable here."""
    given, passed = os.pipe()
    other, _ = ends = os.pipe()
    os.set_inheritable(other, True)
    try:
        code = f"import os; os.write({passed}, b'x'); os.fstat({other})"
        assert run(f"import sys; sys.stderr = None; {code}", [passed]) == 1  # by the last of it
        assert os.read(given, 9) == b"x"
    finally:
        for fd in (given, passed, *ends):
            os.close(fd)


def test_it_is_what_the_program_says_is_to_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the means of multiprocessing."""
    instead = tmp_path / "python"
    instead.write_text("#!/bin/sh\nexit 7\n")
    instead.chmod(stat.S_IRWXU)
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", os.fsencode(instead))
    assert run("", []) == 7


def test_one_that_cannot_be_run_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who waits for it sees that: nothing is raised where it is started."""
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", os.fsencode(tmp_path / "none"))
    assert run("", []) != 0


def test_without_what_is_known_of_the_start_multiprocessing_starts_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Python that takes other arguments is left to those who know them."""
    monkeypatch.setattr(fresh, "_KNOWN", False)
    assert run("import os; os._exit(3)", []) == 3


def collector() -> tuple[bool, bool]:
    """Tell whether garbage is collected, and whether what was there at the start is looked through for it."""
    return gc.isenabled(), gc.get_freeze_count() < 1_000  # Python 3.12 has some frozen of its own


@pytest.mark.parametrize(
    ("method", "expected"), [("forkserver", (True, False)), ("spawn", (True, True))]
)
def test_garbage_is_collected_in_workers(method: StartMethod, expected: tuple[bool, bool]) -> None:
    """But what all of them share is not looked through in each, which would make copies of it."""
    with Pool(1, backend="process", start_method=method) as pool:
        assert pool.submit(collector).result(DEADLINE) == expected
