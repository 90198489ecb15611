"""How programs begin and end: guards, exits, atexit, closed outputs, pools let go. Each in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.backends import Kind
from tests.support.gates import DEADLINE
from tests.support.programs import Program
from tests.support.scripts import PRELUDE, ROOT, outcome_of, printed_by

PROCESS = Kind("process", frozenset())
METHODS = ["forkserver", "spawn", "fork"]
LOCAL = [Kind("thread", frozenset()), Kind("inline", frozenset()), PROCESS]
every_backend = pytest.mark.parametrize("kind", LOCAL, ids=[kind.name for kind in LOCAL])


def run(*command: str, text: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *command],
        check=False,
        capture_output=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=text,
        text=True,
        timeout=30,
    )


# ---------------------------------------------------------------------- how it was started


PROGRAM = (
    PRELUDE
    + """
def triple(n):
    return 3 * n
if __name__ == "__main__":
    with Pool(2, backend="process", start_method=sys.argv[2]) as pool:
        print(list(pool.map(triple, range(3))), pool.submit(lambda n: -n, 4).result(20))
"""
)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["-c", "stdin", "-m", "file"])
def test_however_a_program_is_started(how: str, method: str, tmp_path: Path) -> None:
    """Functions of __main__ travel under -c, from standard input, by -m and from a file."""
    (tmp_path / "started.py").write_text(PROGRAM)
    command = {
        "-c": ("-c", PROGRAM),
        "stdin": ("-",),
        "-m": ("-m", "started"),
        "file": (str(tmp_path / "started.py"),),
    }[how]
    done = run(*command, "process", method, text=PROGRAM if how == "stdin" else "", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[0, 3, 6] -4\n"


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_program_without_a_guard_is_told(method: str, tmp_path: Path) -> None:
    """A file that makes its pool at import gets an error that names the guard; nothing hangs or multiplies."""
    (tmp_path / "unguarded.py").write_text(
        PRELUDE
        + f"pool = Pool(2, backend='process', start_method={method!r})\n"
        + "print(pool.submit(tasks.double, 1).result(20))\n"
    )
    done = run(str(tmp_path / "unguarded.py"), "process", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "InitializerFailed" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "the import of __main__" in last
    assert last.endswith('under: if __name__ == "__main__":')  # the way out is what is read last


# ------------------------------------------------------------------------- how it ends


@every_backend
@pytest.mark.parametrize("way", ["sys.exit(3)", "raise SystemExit(3)", "os._exit(3)"])
def test_a_program_may_leave_at_any_time(kind: Kind, way: str) -> None:
    """With tasks queued and running, its exit code is its own."""
    done = outcome_of(
        kind,
        f"""
        import os
        pool = Pool(2, backend=BACKEND)
        for n in range(50):
            pool.submit(tasks.double, n)
        {way}
        """,
    )
    assert (done.returncode, done.stderr) == (3, "")


@every_backend
def test_a_task_that_exits_ends_nothing_but_itself(kind: Kind) -> None:
    """sys.exit in a task is the task's error."""
    script = """
    with Pool(1, backend=BACKEND) as pool:
        error = pool.submit(sys.exit, 3).exception(20)
        print(type(error).__name__, error.code, pool.submit(tasks.double, 2).result(20))
        print([type(e).__name__ for e in pool.map(sys.exit, [1, 2], return_exceptions=True)])
    """
    assert printed_by(kind, script) == ["SystemExit 3 4", "['SystemExit', 'SystemExit']"]


@every_backend
def test_a_pool_in_atexit_gives_a_clear_answer(kind: Kind) -> None:
    """An old pool is closed by then; a new one runs tasks, or says that it is too late. Nothing hangs."""
    script = """
    import atexit
    old = Pool(1, backend=BACKEND)
    old.submit(tasks.double, 1).result(20)
    def late():
        try:
            print(old.submit(tasks.double, 1).result(20))
        except RuntimeError as error:
            print(error)
        try:
            with Pool(1, backend=BACKEND) as pool:
                print(pool.submit(tasks.double, 1).result(20))
        except RuntimeError as error:
            print(2 if "shutdown" in str(error) else error)
    atexit.register(late)
    """
    assert printed_by(kind, script) == ["cannot schedule new futures after shutdown", "2"]


@every_backend
@pytest.mark.parametrize("earlier", [True, False])
def test_a_pool_that_is_left_open_in_atexit_runs_its_tasks(kind: Kind, *, earlier: bool) -> None:
    """They are done at the very end, whether or not there was a pool before; they may have pools of their own."""
    script = """
    import atexit
    def late():
        global pool
        pool = Pool(1, backend=BACKEND)
        for n in range(3):
            pool.submit(tasks.double, n).add_done_callback(tell)
        pool.submit(tasks.run_own_pool, BACKEND, 2).add_done_callback(tell)
    def tell(task):
        error = task.exception()
        print(task.result() if error is None else error)
    atexit.register(late)
    """
    if earlier:
        script += """
    with Pool(1, backend=BACKEND) as before:
        before.submit(tasks.double, 1)
    """
    lines = printed_by(kind, script)
    if sys.version_info[:2] == (3, 12) and kind.name != "inline":
        # That Python starts no thread any more.
        assert [line for line in lines if "at interpreter shutdown" not in line] == []
    else:
        assert lines == ["0", "2", "4", "[0, 2]"]


@every_backend
@pytest.mark.parametrize("imported", ["threading", "workpool.pool"])
def test_a_pool_that_comes_too_late_is_refused(kind: Kind, imported: str) -> None:
    """Where nothing sees to its end any more, Pool says what the standard library says."""
    script = f"""
    import atexit
    def late():  # is called after all that is registered later: also what ends our pools
        from workpool import Pool
        try:
            Pool(1, backend={kind.name!r})
        except RuntimeError as error:
            print(error)
    atexit.register(late)
    import {imported}
    """
    done = run("-c", dedent(script))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "cannot schedule new futures after interpreter shutdown\n"


@every_backend
def test_a_finalizer_at_the_very_end_is_told_that_the_pool_is_closed(kind: Kind) -> None:
    """Also when nothing can be imported any more."""
    script = """
    class Late:
        def __del__(self):
            try:
                pool.submit(double, 1)
            except RuntimeError as error:
                print(type(error).__name__, error)
            except BaseException as error:
                print(repr(error))
    def double(n):
        return 2 * n
    pool = Pool(1, backend=BACKEND)
    pool.submit(tasks.double, 1).result(20)
    late = Late()
    """
    assert printed_by(kind, script) == ["PoolClosed cannot schedule new futures after shutdown"]


@every_backend
def test_the_interpreter_may_end_while_workers_run(kind: Kind) -> None:
    """Running and queued tasks end first; what other threads submit meanwhile is refused, in silence."""
    script = """
    import threading
    pool = Pool(2, backend=BACKEND)
    def go_on():
        try:
            while True:
                pool.submit(tasks.double, 1)
        except RuntimeError as error:
            sys.stdout.write(f"{error}\\n")  # in one step: three say it at once
    for _ in range(3):
        threading.Thread(target=go_on).start()
    pool.submit(tasks.double, 1).result(20)
    """
    # The threads are no daemons: they are waited for, and so must hear of it.
    assert printed_by(kind, script) == ["cannot schedule new futures after shutdown"] * 3


@every_backend
def test_a_pool_let_go_while_in_use_runs_what_it_has(kind: Kind) -> None:
    """Tasks and maps go on without their pool, and its workers leave after them."""
    script = """
    import gc, threading
    def use():
        pool = Pool(2, backend=BACKEND)
        return [pool.submit(tasks.double, n) for n in range(20)], pool.map(tasks.double, iter(range(50)))
    submitted, results = use()
    gc.collect()
    print(sum(task.result(20) for task in submitted), sum(results))
    del submitted, results
    gc.collect()
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(20)
    print(threading.active_count())
    """
    assert printed_by(kind, script) == ["380 2450", "1"]


@every_backend
def test_many_threads_use_a_pool_while_another_shuts_it_down(kind: Kind) -> None:
    """Each call gets through or is refused; no task is left pending."""
    script = """
    import threading
    from workpool import PoolClosed
    for round in range(5):
        pool = Pool(2, backend=BACKEND)
        pool.submit(tasks.double, 1).result(20)
        accepted, errors = [], []
        def use():
            try:
                while True:
                    accepted.append(pool.submit(tasks.double, 1))
                    list(pool.map(tasks.double, range(3)))
                    pool.join(20)
            except (PoolClosed, __import__("concurrent.futures").futures.CancelledError):
                pass
            except BaseException as error:
                errors.append(error)
        users = [threading.Thread(target=use) for _ in range(6)]
        for user in users:
            user.start()
        while len(accepted) < 20:
            threading.Event().wait(0.001)
        pool.shutdown()
        for user in users:
            user.join(20)
        print([user.is_alive() for user in users] == [False] * 6, errors)
        assert all(task.done() for task in accepted)
    """
    assert printed_by(kind, script) == ["True []"] * 5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("closed", ["0", "1", "2", "0, 1, 2"])
def test_closed_standard_streams_do_no_harm(closed: str, method: str, tmp_path: Path) -> None:
    """Pipes of ours never take the numbers of standard streams: what a task prints goes nowhere, not into them."""
    script = f"""
    import os
    for fd in ({closed},):
        os.close(fd)
    def speak(n):
        for fd in (1, 2):
            try:
                os.write(fd, b"x" * 1000)
            except OSError:
                pass
        try:
            print("hello", flush=True)
        except OSError:
            pass
        try:
            os.read(0, 10)
        except OSError:
            pass
        return n
    with Pool(2, backend=BACKEND, start_method={method!r}) as pool:
        got = [list(pool.map(speak, range(5))), pool.submit(speak, 7).result(20)]
    with open({str(tmp_path / "said")!r}, "w") as file:
        file.write(repr(got))
    os._exit(0)
    """
    done = outcome_of(PROCESS, script)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "said").read_text() == "[[0, 1, 2, 3, 4], 7]"


def test_pools_may_be_made_by_a_program_that_lost_its_terminal() -> None:
    """A program whose session leader is gone (nohup, a closed window) is a parent like any other."""
    script = dedent(
        """
        import os, signal
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        from tests.support.stuck import tell
        with Pool(1, backend=BACKEND) as pool:
            tell("ready")
            os.kill(os.getpid(), signal.SIGHUP)
            pool.submit(tell, "worker").result(20)
        """
    )
    with Program(script, "process") as program:
        assert [line.split()[0] for line in program.lines(2)] == ["ready", "worker"]
        assert program.end(DEADLINE).code == 0
