"""The end of a program, forks, and finalizers: each in a program of its own, so that none can hang us."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.support.backends import Kind
from tests.support.scripts import outcome_of, printed_by

# The far ends of the engines' stand-in are threads, and Python 3.12 starts none once it is ending.
begins_at_exit = pytest.mark.lacks("far")
fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@begins_at_exit
def test_queued_tasks_run_at_exit(kind: Kind) -> None:
    """A program that ends without shutdown runs what it has queued, without a word."""
    script = """
    def speak(n):
        print(n, flush=True)
    pool = Pool(1, backend=BACKEND)
    for n in range(20):
        pool.submit(speak, n)
    """
    assert printed_by(kind, script) == [str(n) for n in range(20)]


def test_a_program_may_take_all_warnings_for_errors(kind: Kind) -> None:
    """Also those of the ways to read a file that depend on the system's encoding."""
    script = """
        if __name__ == "__main__":
            with Pool(1, backend=BACKEND) as pool:
                print(*pool.map(abs, [-1, 2]), pool.submit(abs, -3).result())
        """
    flags = ("-X", "warn_default_encoding")
    assert printed_by(kind, script, flags=flags) == ["1 2 3"]


@begins_at_exit
def test_queued_tasks_run_at_exit_after_shutdown(kind: Kind) -> None:
    """Also after shutdown(wait=False), and when the pool is let go before."""
    script = """
    import os
    def speak(n):
        os.write(1, b"%d\\n" % n)  # in one step: two pools speak at once
    pool = Pool(1, backend=BACKEND)
    for n in range(10):
        pool.submit(speak, n)
    pool.shutdown(wait=False)
    pool = Pool(1, backend=BACKEND)
    for n in range(10, 20):
        pool.submit(speak, n)
    del pool
    """
    assert sorted(map(int, printed_by(kind, script))) == list(range(20))


@begins_at_exit
def test_maps_end_at_exit(kind: Kind) -> None:
    """Sized maps run; what an endless one has not pulled is left, and holds nothing up."""
    script = """
    from itertools import count
    def speak(n):
        print(n, flush=True)
    pool = Pool(1, backend=BACKEND)
    first = pool.map(speak, range(5), chunksize=5)
    endless = pool.map(tasks.double, count(), buffersize=3)
    """
    assert printed_by(kind, script) == [str(n) for n in range(5)]


def test_an_idle_pool_does_not_hold_up_the_end(kind: Kind) -> None:
    """Workers that sleep at exit just go."""
    script = """
    pool = Pool(2, backend=BACKEND)
    print(pool.submit(tasks.double, 21).result(20))
    other = Pool(2, backend=BACKEND)
    """
    assert printed_by(kind, script) == ["42"]


def test_pools_in_module_globals_end_in_silence(kind: Kind) -> None:
    """Tasks, results and views that are still there at exit make no noise."""
    script = """
    pool = Pool(2, backend=BACKEND)
    view = pool.options(name="x")
    task = view.submit(tasks.double, 1)
    results = pool.map(tasks.double, range(100))
    print(next(results))
    counter = pool.counter()
    counter.add(1)
    """
    assert printed_by(kind, script, flags=("-X", "dev")) == ["0"]


@begins_at_exit
def test_an_error_nobody_asked_for_makes_no_noise(kind: Kind) -> None:
    """Like the standard futures: an error stays with its future."""
    script = """
    pool = Pool(2, backend=BACKEND)
    pool.submit(tasks.fail_with, ValueError)
    pool.submit(tasks.fail_with, SystemExit)
    """
    assert printed_by(kind, script) == []


def test_a_program_that_fails_ends_with_its_own_error(kind: Kind) -> None:
    """An error in the with block ends the program with that traceback and no other."""
    script = """
    with Pool(2, backend=BACKEND) as pool:
        pool.submit(tasks.double, 1)
        raise LookupError("the program's own")
    """
    done = outcome_of(kind, script)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.endswith("LookupError: the program's own\n")


@begins_at_exit
def test_tasks_may_submit_at_exit(kind: Kind) -> None:
    """A callback that submits during the last drain gets an answer, not a hang."""
    script = """
    def again(task):
        try:
            pool.submit(tasks.double, 1)
        except RuntimeError as error:
            print(error, flush=True)
    pool = Pool(1, backend=BACKEND)
    task = pool.submit(tasks.double, 1)
    pool.shutdown(wait=False)
    task.add_done_callback(again)
    """
    assert printed_by(kind, script) == ["cannot schedule new futures after shutdown"]


def test_ctrl_c_ends_a_program_at_once(kind: Kind) -> None:
    """The caller gets KeyboardInterrupt; workers end, and print no traceback of theirs."""
    script = """
    import os, signal, threading
    from tests.support.gates import Gate, in_background
    def interrupt():
        gate.arrival()
        os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Gate() as gate, Pool(1, backend=BACKEND) as pool:
        in_background(interrupt)
        task = pool.submit(tasks.hold, gate.path, 1)
        task.result()
    """
    done = outcome_of(kind, script)
    assert done.returncode in (-signal.SIGINT, 130)
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.endswith("KeyboardInterrupt\n")


@fork_only
@pytest.mark.lacks("breaks_forks")
def test_a_forked_child_says_that_it_has_no_pool(kind: Kind) -> None:
    """In a forked child every use of the pool is ForkedPool, and the parent goes on."""
    script = """
    import os, warnings
    from workpool import ForkedPool
    warnings.simplefilter("ignore")
    pool = Pool(2, backend=BACKEND)
    print(pool.submit(tasks.double, 1).result(20))
    view = pool.options(name="x")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = []
        for call in (
            lambda: pool.submit(tasks.double, 1),
            lambda: view.submit(tasks.double, 1),
            lambda: pool.map(tasks.double, [1, 2]),
            lambda: pool.map(tasks.double, iter([1, 2])),
            lambda: pool.map(tasks.double, [1, 2], chunksize=1),
        ):
            try:
                call()
                said.append("nothing")
            except ForkedPool as error:
                said.append("made in the parent" in str(error))
        pool.shutdown()
        pool.kill()
        os.write(write, repr(said).encode())
        os._exit(0)
    os.waitpid(child, 0)
    print(os.read(read, 100).decode())
    print(pool.submit(tasks.double, 2).result(20))
    pool.shutdown()
    """
    assert printed_by(kind, script) == ["2", str([True] * 5), "4"]


@fork_only
@pytest.mark.lacks("breaks_forks")
def test_tasks_open_at_a_fork_fail_in_the_child_alone(kind: Kind) -> None:
    """A queued task raises ForkedPool in the child, and its result in the parent."""
    script = """
    import os, warnings
    from tests.support.backends import KINDS
    from tests.support.holding import workers_busy
    from workpool import ForkedPool
    warnings.simplefilter("ignore")
    (kind,) = [k for k in KINDS if k.name == BACKEND]
    pool = Pool(1, backend=BACKEND)
    read, write = os.pipe()
    called = []
    with workers_busy(pool, kind):
        task = pool.submit(tasks.double, 21)
        results = pool.map(tasks.double, range(3))
        task.add_done_callback(lambda _: called.append(os.getpid()))
        child = os.fork()
        if child == 0:
            said = []
            for outcome in (task.result, lambda: list(results)):
                try:
                    said.append(outcome())
                except ForkedPool:
                    said.append("forked")
            os.write(write, repr(said).encode())
            os._exit(0)
        os.waitpid(child, 0)
    print(os.read(read, 100).decode())
    print(task.result(20), list(results), called == [os.getpid()])
    pool.shutdown()
    """
    assert printed_by(kind, script) == ["['forked', 'forked']", "42 [0, 2, 4] True"]


@fork_only
@pytest.mark.needs("forks")
def test_a_forked_child_can_make_a_pool_of_its_own(kind: Kind) -> None:
    """What came along from the parent does not stand in the way, nor at the child's exit."""
    script = """
    import os, warnings
    warnings.simplefilter("ignore")
    pool = Pool(2, backend=BACKEND)
    pool.submit(tasks.double, 1).result(20)
    child = os.fork()
    if child == 0:
        with Pool(2, backend=BACKEND) as own:
            print(list(own.map(tasks.double, range(3))), flush=True)
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    pool.shutdown()
    """
    assert printed_by(kind, script) == ["[0, 2, 4]", "0"]


FINALIZERS = """
import gc, threading
from tests.support.backends import KINDS
from tests.support.holding import workers_busy
(kind,) = [k for k in KINDS if k.name == BACKEND]
pool = Pool(1, backend=BACKEND)

class Last:
    '''What looks at the pool when it goes.'''
    def __init__(self):
        self.gone = threading.Event()
    def __del__(self):
        pool.unfinished, pool.stats(), pool.submit(tasks.double, 1)
        self.gone.set()
    def __call__(self, *args):
        return 1
    def __reduce__(self):
        return int, ()

def use(bring):
    last = Last()
    gone = last.gone
    end = bring(last)
    del last, bring
    return gone, end

"""


@pytest.mark.parametrize(
    ("what", "script"),
    [
        ("argument, run", "lambda it: pool.submit(tasks.echo_none, it).result(10) and None"),
        ("argument, cancelled", "lambda it: pool.submit(tasks.echo_none, it).cancel"),
        (
            "argument, in a pause",
            "lambda it: retry.submit(tasks.fail_at, it).exception(10) and None",
        ),
        ("items, run", "lambda it: list(pool.map(tasks.echo_none, [it])) and None"),
        ("items, closed", "lambda it: pool.map(tasks.echo_none, [it] * 3).close"),
        ("single items, closed", "lambda it: pool.map(tasks.echo_none, [it], chunksize=1).close"),
        (
            "input, closed",
            "lambda it: pool.map(tasks.echo_none, (i for i in [it] * 99), buffersize=2).close",
        ),
        ("callback", "lambda it: pool.submit(tasks.echo_none, 1).add_done_callback(it)"),
    ],
    ids=lambda value: value.replace(" ", "-").replace(",", "") if len(value) < 25 else "",
)
def test_finalizers_may_use_the_pool(kind: Kind, what: str, script: str) -> None:
    """No user code runs under a lock of the pool: not even the end of what tasks were given."""
    program = (
        FINALIZERS
        + f"""
retry = pool.options(retries=1, retry_on=LookupError)
if "closed" in {what!r} or "cancelled" in {what!r}:
    with workers_busy(pool, kind):
        gone, end = use({script})
        end()
        del end
else:
    gone, _ = use({script})
gc.collect()
print(gone.wait(25))
"""
    )
    assert printed_by(kind, program) == ["True"]


def test_finalizers_may_use_a_pool_that_is_cancelled(kind: Kind) -> None:
    """That holds for the arguments of tasks that a shutdown or kill cancels, too."""
    program = (
        FINALIZERS.replace(", pool.submit(tasks.double, 1)", "")
        + """
for end in (lambda: pool.shutdown(wait=False, cancel_futures=True), lambda: pool.kill()):
    pool = Pool(1, backend=BACKEND)
    with workers_busy(pool, kind):
        gone, _ = use(lambda it: pool.submit(tasks.echo_none, it) and None)
        lots, _ = use(lambda it: pool.map(tasks.echo_none, [it]) and None)
        end()
    print(gone.wait(25), lots.wait(25))
"""
    )
    assert printed_by(kind, program) == ["True True", "True True"]


def test_a_program_killed_in_the_middle_leaves_nothing(kind: Kind) -> None:
    """When the program dies by a signal its workers die with it; the check around tests sees to that."""
    script = """
    import os, signal
    from tests.support.gates import Gate, in_background
    gate = Gate()
    in_background(lambda: (gate.arrival(), os.kill(os.getpid(), signal.SIGKILL)))
    pool = Pool(2, backend=BACKEND)
    pool.submit(tasks.hold, gate.path, 1).result()
    """
    done = outcome_of(kind, script)
    assert done.returncode == -signal.SIGKILL
    assert isinstance(done, subprocess.CompletedProcess)
