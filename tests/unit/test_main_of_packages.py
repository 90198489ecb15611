"""``python -m package``, ``python folder`` and ``python app.pyz``: ``multiprocessing`` loads no such ``__main__``."""

from __future__ import annotations

import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from tests.support.gates import DEADLINE
from workpool._compat import has_interpreters
from workpool.ipc.keeper import START_METHODS

PROGRAM = """
import contextlib, contextvars, sys
from workpool import Pool, current

class Point:
    def __init__(self, x):
        self.x = x

seen = None
variable = contextvars.ContextVar("variable")

def load(point):
    global seen
    seen = point

@contextlib.contextmanager
def resource():
    yield Point(1)

def look():
    return getattr(seen, "x", None)

def of_worker():
    return current().resource.x

def of_shared(shared):
    assert isinstance(shared.get(), Point)
    return shared.get().x

def of_queue(items, answers):
    answers.put(items.get(timeout=20))

def of_context():
    return variable.get().x

def made(n):
    return Point(n)

def nested(settings):
    with Pool(1, **settings) as pool:
        return pool.submit(made, 6).result(20).x

def main():
    print("began")
    variable.set(Point(4))
    terms = dict(initializer=load, initargs=(Point(0),), worker_context=resource, context=[variable])
    with Pool(1, **SETTINGS, **terms) as pool:
        shared, items, answers = pool.shared(Point(2)), pool.queue(), pool.queue()
        items.put(Point(3))
        found = [pool.submit(of_worker), pool.submit(of_shared, shared), pool.submit(of_context)]
        print([task.result(20) for task in found])
        pool.submit(of_queue, items, answers).result(20)
        print([type(each) is Point for each in (answers.get(timeout=20), pool.submit(made, 5).result(20))])
        print(pool.submit(nested, SETTINGS).result(20))
        print("initializer", pool.submit(look).result(20))
"""
GUARDED = 'if __name__ == "__main__":\n    main()\n'
SAID = ["began", "[1, 2, 4]", "[True, True]", "6"]


def said_by(folder: Path, how: str, settings: str, end: str) -> list[str]:
    """Run a program of a package, a folder or an archive, and give the lines that it printed."""
    inner = folder / "thing"
    inner.mkdir()
    text = PROGRAM.replace("SETTINGS", settings) + end
    (inner / "__main__.py").write_text(text, encoding="utf-8")
    if how == "archive":
        zipapp.create_archive(inner, folder / "thing.pyz")
    command = {"package": ["-m", "thing"], "folder": ["thing"], "archive": ["thing.pyz"]}[how]
    ran = subprocess.run(
        [sys.executable, "-W", "error", *command],
        check=False,
        timeout=3 * DEADLINE,
        capture_output=True,
        cwd=folder,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert ran.stderr == ""
    return ran.stdout.splitlines()


by_each = pytest.mark.parametrize(
    "settings",
    [
        *(f'dict(backend="process", start_method="{method}")' for method in START_METHODS),
        pytest.param(
            'dict(backend="interpreter")',
            marks=pytest.mark.skipif(not has_interpreters(), reason="this Python has none"),
        ),
    ],
)
of_each = pytest.mark.parametrize("how", ["package", "folder", "archive"])


@by_each
@of_each
def test_one_with_a_guard_is_a_program_like_any_other(
    tmp_path: Path, how: str, settings: str
) -> None:
    """Workers have its ``__main__``, once something of it is asked for; what an initializer sets there is seen."""
    assert said_by(tmp_path, how, settings, GUARDED) == [*SAID, "initializer 0"]


@by_each
@of_each
def test_one_without_a_guard_is_run_once(tmp_path: Path, how: str, settings: str) -> None:
    """No worker runs it: what is of its ``__main__`` travels by value, also in setups and in shared state."""
    assert said_by(tmp_path, how, settings, "main()\n")[:-1] == SAID
