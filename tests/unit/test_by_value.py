"""What travels by value fits what travels by name: the same classes, the same globals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.imported import KINDS, printed, run

NOT_FORKED = [kind for kind in KINDS if kind != "fork"]

kinds = pytest.mark.parametrize("kind", KINDS)

CLASSES = """
import dataclasses, enum, functools, threading

class Kind(enum.Enum):
    A = "a"

@dataclasses.dataclass(frozen=True)
class Job:
    kind: Kind
    n: int

class Refused(Exception):
    pass

def refuse(job):
    raise Refused(job)

def named(job):
    return "A"

HANDLERS = {Kind.A: named}
lock = threading.Lock()

def locked(job):
    with lock:
        return job.n

def main(kind):
    job, seen = Job(Kind.A, 1), {Job(Kind.A, 1)}

    def matched(job):
        match job:
            case Job(kind=Kind.A, n=n):
                return n
        return "another class"

    def caught(fn, job):
        try:
            fn(job)
        except Refused as error:
            return error.args[0] == job
        except Exception:
            return "another class"

    def handled(job):
        return HANDLERS.get(job.kind, lambda job: "another class")(job)

    with pool_of(kind) as pool:
        print(pool.submit(matched, job).result(), list(pool.map(matched, [job] * 2)))
        print(pool.submit(caught, refuse, job).result(), pool.submit(handled, job).result())
        print(pool.submit(lambda job: (job.kind is Kind.A, job == Job(Kind.A, 1), job in seen), job).result())
        print(pool.submit(functools.partial(lambda kind, job: kind is job.kind, Kind.A), job).result())
        print(pool.submit(lambda: locked(job)).result(), pool.submit(lambda: lock.locked()).result())
        print(pool.submit(lambda: Job).result() is Job)

if __name__ == "__main__":
    main(sys.argv[1])
"""


@kinds
def test_a_function_by_value_sees_the_classes_of_its_arguments(tmp_path: Path, kind: str) -> None:
    """What a script defines is one class in a worker, whether an argument or a lambda leads to it."""
    assert printed(tmp_path, CLASSES, kind) == [
        "1 [1, 1]",
        "True A",
        "(True, True, True)",
        "True",
        "1 False",
        "True",
    ]


@pytest.mark.parametrize("kind", ["forkserver", *KINDS[3:]])
def test_so_it_does_where_no_worker_has_the_program(tmp_path: Path, kind: str) -> None:
    """From standard input all travels by value, and a class arrives once."""
    script = CLASSES.replace("lock.locked()", "False").replace("with lock:", "if True:")
    assert printed(tmp_path, script, kind, stdin=True) == [
        "1 [1, 1]",
        "True A",
        "(True, True, True)",
        "True",
        "1 False",
        "True",
    ]


UNDER_THE_GUARD = """
import enum

MODEL = None

def load(path):
    global MODEL
    MODEL = path

def redefined():
    return "imported"

class Kind(enum.Enum):
    A = "a"

if __name__ == "__main__":
    class Late(enum.Enum):
        A = "a"

    factor = 3

    def helper(x):
        return x * factor, MODEL

    def work(x, kind, late):
        return helper(x), kind is Kind.A, late is Late.A

    def redefined():
        return "of this run"

    with pool_of(sys.argv[1], initializer=load, initargs=("m.bin",)) as pool:
        early = pool.submit(lambda: helper(1))
        print(early.result())
        factor = 4
        print(pool.submit(lambda: helper(1)).result(), pool.submit(lambda: factor).result())
        print(pool.submit(work, 1, Kind.A, Late.A).result())
        print(list(pool.starmap(work, [(1, Kind.A, Late.A)] * 2)))
        print(list(pool.map(lambda kind: kind in Kind or kind is Late.A, [Kind.A, Late.A])))
        print(pool.submit(lambda: redefined()).result())
"""


@pytest.mark.parametrize("kind", NOT_FORKED)
def test_what_is_under_the_guard_goes_along(tmp_path: Path, kind: str) -> None:
    """Functions, classes and values that a worker has not; beside them it has its own, which the initializer set."""
    assert printed(tmp_path, UNDER_THE_GUARD, kind) == [
        "(3, 'm.bin')",
        "(4, 'm.bin') 4",
        "((4, 'm.bin'), True, True)",
        "[((4, 'm.bin'), True, True), ((4, 'm.bin'), True, True)]",
        "[True, True]",
        "of this run",
    ]


GLOBALS = """
import module

MODEL, DEBUG, FILLED, count = None, False, {}, 0
KEPT = {"a": 1}

def load(path):
    global MODEL
    MODEL = path
    KEPT["b"] = 2

def predict():
    return MODEL

class Sets:
    @staticmethod
    def count():
        global count
        count += 1

def main(kind):
    global DEBUG
    path = "m.bin"

    def setup():
        load(path)

    def sets():
        global MODEL
        MODEL = path

    def counted():
        global count
        count += 1
        return count

    DEBUG = True
    FILLED["x"] = 1
    with pool_of(kind, initializer=load, initargs=(path,)) as pool:
        print([pool.submit(fn).result() for fn in (lambda: MODEL, lambda: predict(), lambda: KEPT)])
        print(pool.submit(lambda: (DEBUG, FILLED, MODEL)).result())
        print([pool.submit(counted).result() for _ in range(3)])
        pool.submit(lambda: Sets.count()).result()
        print(pool.submit(lambda: count).result())
    for initializer in (setup, sets, lambda: load(path)):
        with pool_of(kind, initializer=initializer) as pool:
            print(pool.submit(predict).result(), pool.submit(lambda: MODEL).result())
    with pool_of(kind, initializer=module.load, initargs=(path,)) as pool:
        print([pool.submit(fn).result() for fn in module.FUNCTIONS])

if __name__ == "__main__":
    main(sys.argv[1])
"""

MODULE = """
import functools

MODEL = None

def load(path):
    global MODEL
    MODEL = path

def wrapped(fn):
    @functools.wraps(fn)
    def wrapper():
        return fn()
    return wrapper

def decorated():
    return MODEL

def closure(n):
    return lambda: (MODEL, n)

FUNCTIONS = [lambda: MODEL, decorated, closure(1)]
decorated = wrapped(decorated)
FUNCTIONS.append(decorated)
"""


@kinds
def test_a_function_by_value_sees_what_an_initializer_has_set(tmp_path: Path, kind: str) -> None:
    """It sees and sets the globals of its module in the worker, as a function that goes by name does."""
    (tmp_path / "module.py").write_text(MODULE)
    assert printed(tmp_path, GLOBALS, kind) == [
        "['m.bin', 'm.bin', {'a': 1, 'b': 2}]",
        "(True, {'x': 1}, 'm.bin')",
        "[1, 2, 3]",
        "4",
        *["m.bin m.bin"] * 3,
        "['m.bin', 'm.bin', ('m.bin', 1), 'm.bin']",
    ]


KEPT_BACK = """
import threading
from workpool import NotPicklable

lock = late = threading.Lock()
again = None

def wrapped(fn):
    def wrapper(n):
        with lock:
            pass
        return fn(n)
    return wrapper

@wrapped
def down(n):
    return down(n - 1) if n else "down"

def main(kind):
    with pool_of(kind) as pool:
        print(pool.submit(down, 3).result(), pool.submit(lambda n: (lock.locked(), down(n), factor), 3).result())
        for fn in (lambda: under_the_guard, lambda: again):
            error = pool.submit(fn).exception()
            print(isinstance(error, NotPicklable) and error.part, "cannot pickle '_thread.lock'" in str(error))

if __name__ == "__main__":
    factor = 3
    under_the_guard = again = lock
    main(sys.argv[1])
"""


@pytest.mark.parametrize("kind", NOT_FORKED)
def test_what_there_is_no_copy_of_may_be_there(tmp_path: Path, kind: str) -> None:
    """A lock of the script is the worker's own; one that is not there is said to be at fault, when asked for."""
    assert printed(tmp_path, KEPT_BACK, kind) == [
        "down (False, 'down', 3)",
        *["function True"] * 2,
    ]


NOWHERE = """
import types

def main(kind):
    module = types.ModuleType("made_here")
    module.__spec__ = __spec__ or types.__spec__
    sys.modules["made_here"] = module
    exec("by = 2\\ndef scaled():\\n    return lambda x: x * by", vars(module))
    with pool_of(kind) as pool:
        print([pool.submit(module.scaled(), 3).result() for _ in range(2)])

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("kind", NOT_FORKED)
def test_globals_of_a_module_that_a_worker_cannot_import_go_along(
    tmp_path: Path, kind: str
) -> None:
    """As they are in the caller."""
    assert printed(tmp_path, NOWHERE, kind) == ["[6, 6]"]


CHANGED = """
factor = 1

if __name__ == "__main__":
    kind = sys.argv[1]
    backend = {"interpreter": {"backend": kind}}.get(kind, {"backend": "process", "start_method": kind})
    with Pool(1, **backend) as pool:
        for factor in (2, 3):
            print(list(pool.map(lambda x: x * factor, range(3))))
"""


@kinds
def test_what_the_program_changes_goes_along(tmp_path: Path, kind: str) -> None:
    """Also to a worker that is a copy of the program as it was, or whose program defines no function at its top."""
    file = tmp_path / "script.py"
    file.write_text("import sys\nfrom workpool import Pool\n" + CHANGED)
    assert run(tmp_path, str(file), kind) == ["[0, 2, 4]", "[0, 3, 6]"]
