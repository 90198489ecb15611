"""A journal survives what kills its process, at any instant, and what shares the machine with it."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dying import killed_at_line
from tests.support.gates import Gate
from tests.support.tasks import echo
from workpool import JournalError, JournalInUse, Pool
from workpool.journal import store
from workpool.journal.hold import Hold
from workpool.journal.identity import identify
from workpool.journal.store import Store

ROOT = Path(__file__).parents[2]
IDENTITY = identify(echo, star=False, version=None)

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes as POSIX does"),
]


def kept_in(path: Path) -> dict[int, bytes]:
    """Read a journal as any tool would."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return dict(connection.execute("SELECT position, result FROM items").fetchall())
    finally:
        connection.close()


BATCHES = [[(n, b"d", b"r") for n in range(start, start + 3)] for start in (0, 3, 6)]


@pytest.mark.leaks_expected("a child is killed in the middle of opening a file")
def test_killed_at_each_line_it_keeps_whole_batches(tmp_path: Path) -> None:
    """Killed before any line of opening, writing and closing, a journal holds all it had said it holds."""
    number = 0
    while True:
        path = tmp_path / f"{number}.sqlite"
        said = tmp_path / f"{number}.said"

        def work(path: Path = path, said: Path = said) -> None:
            opened = Store(str(path), IDENTITY)
            for batch in BATCHES:
                opened.write(batch)
                with open(said, "a") as note:
                    note.write("1")
            opened.close()

        killed = killed_at_line(number, work, files={store.__file__})
        again = Store(str(path), IDENTITY)
        kept = sorted(position for position, _ in again.digests())
        again.close()
        batches = len(said.read_text()) if said.exists() else 0
        assert kept in [list(range(3 * whole)) for whole in (batches, min(batches + 1, 3))]
        if not killed:
            assert batches == 3
            break
        number += 1
    assert number > 40  # it was killed at many places


KILLS = 4
SCRIPT = """
import os, signal, sys
from workpool import Pool
main, starts = int(os.environ.setdefault("MAIN", str(os.getpid()))), int(sys.argv[4])
def work(n):
    log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, b"%03d\\n" % n)
    if os.fstat(log).st_size >= 4 * starts:
        os.kill(main, signal.SIGKILL)
    os.close(log)
    return "result %d" % n
def numbers():
    yield from range(300)
if __name__ == "__main__":
    how = eval(sys.argv[3])
    source = numbers() if how.pop("lazy") else range(300)
    with Pool(2, backend=how.pop("backend")) as pool:
        for result in pool.map(work, source, journal=sys.argv[1], **how):
            print(result, flush=True)
"""


@pytest.mark.leaks_expected("the program is killed before it can tidy up")
@pytest.mark.parametrize(
    "how",
    [
        {"backend": "process", "lazy": True},
        {"backend": "thread", "lazy": False, "ordered": False},
        {"backend": "thread", "lazy": True, "chunksize": 1},
    ],
    ids=str,
)
def test_killed_at_any_instant_it_goes_on(tmp_path: Path, how: dict[str, object]) -> None:
    """However often the program is killed: nothing kept runs again, nothing told was not kept, all comes out."""
    chance = random.Random(str(how))
    path = tmp_path / "run.sqlite"
    (tmp_path / "script.py").write_text(SCRIPT)
    kept: set[int] = set()
    told: list[str] = []
    kills = 0
    for kills in range(KILLS + 1):
        log = tmp_path / f"ran{kills}"
        # Killed from within when so many items have started, or from without when so many are told.
        starts = 10_000 if kills == KILLS else chance.randrange(1, 60)
        with subprocess.Popen(
            [sys.executable, "script.py", str(path), str(log), repr(how), str(starts)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        ) as program:
            assert program.stdout is not None
            told = []
            limit = 10_000 if kills == KILLS else len(kept) + chance.randrange(1, 60)
            for line in program.stdout:
                told.append(line.rstrip("\n"))
                if len(told) == limit:
                    program.send_signal(signal.SIGKILL)
            code = program.wait(timeout=30)
        ran = [int(line) for line in log.read_text().split()] if log.exists() else []
        assert not set(ran) & kept, "a finished item ran again after its result was kept"
        assert len(ran) == len(set(ran))
        now = kept_in(path) if path.exists() else {}
        assert kept <= now.keys()
        kept = set(now)
        assert {int(line.split()[1]) for line in told} <= kept, "told before it was kept"
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert kills == KILLS
    assert sorted(told) == sorted(f"result {n}" for n in range(300))
    assert kept == set(range(300))


HOLDER = """
import sys
from tests.support.tasks import echo
from workpool import Pool
with Pool(1) as pool:
    results = pool.map(echo, iter([0, 1]), journal=sys.argv[1], buffersize=1)
    print(next(results), flush=True)
    sys.stdin.read()
"""


def holding(script: str, path: Path) -> subprocess.Popen[bytes]:
    """Start a program that has a journal, and ends with its input."""
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


BACKED_UP = HOLDER.replace(
    "    sys.stdin", "    open(sys.argv[1], 'rb').close()\n    print(1, flush=True)\n    sys.stdin"
)


def test_who_looks_into_its_own_journal_keeps_it(tmp_path: Path) -> None:
    """A program that reads the file, as a backup does, and so loses SQLite's lock, has the journal still."""
    path = tmp_path / "run.sqlite"
    with (
        holding(BACKED_UP, path) as other,
        Pool(1) as pool,
    ):
        assert other.stdout is not None
        assert [other.stdout.readline(), other.stdout.readline()] == [b"0\n", b"1\n"]
        with pytest.raises(JournalInUse, match="in use by another process"):
            pool.map(echo, [0], journal=path)
        other.communicate(timeout=20)
        assert list(pool.map(echo, [0, 1], journal=path)) == [0, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["run.sqlite"]


def test_a_lock_file_that_was_left_means_nothing(tmp_path: Path) -> None:
    """Nor does a forked child keep its parent's lock, nor a journal that nobody can make."""
    path = tmp_path / "run.sqlite"
    (tmp_path / "run.sqlite-lock").touch()
    opened = Store(str(path), IDENTITY)
    there, here = os.pipe()
    stay, go = os.pipe()
    child = os.fork()
    if not child:
        os.close(go)
        os.write(here, b"1")
        os.read(stay, 1)  # until the parent has looked
        os._exit(0)
    assert os.read(there, 1) == b"1"
    hold = opened._hold
    os.close(hold._fd)  # as if this process were dead
    hold._fd = -1
    again = Hold(str(path))
    again.release()
    for fd in (go, stay, there, here):
        os.close(fd)
    os.waitpid(child, 0)
    opened.close()
    with pytest.raises(JournalError, match="be there"):
        Store(str(tmp_path / "nowhere" / "run.sqlite"), IDENTITY)


def test_a_lock_on_a_file_that_was_removed_is_not_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had the journal lets go between the opening of the lock's file and the lock: the next has a new one."""
    path = str(tmp_path / "run.sqlite")
    first = [Hold(path)]
    flock = fcntl.flock

    def late(fd: int, operation: int) -> None:
        if first:
            first.pop().release()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    second = Hold(path)
    with pytest.raises(JournalInUse):
        Hold(path)
    second.release()
    Hold(path).release()
    assert not list(tmp_path.iterdir())


@pytest.mark.leaks_expected("the other program is killed")
def test_a_kill_lets_the_file_go(tmp_path: Path) -> None:
    """While another process has the journal a call is refused; the moment that one is dead, it is taken."""
    path = tmp_path / "run.sqlite"
    with (
        holding(HOLDER, path) as other,
        Pool(1) as pool,
    ):
        assert other.stdout is not None
        assert other.stdout.readline() == b"0\n"
        with pytest.raises(JournalInUse, match="in use by another process") as refusal:
            pool.map(echo, [0], journal=path)
        assert refusal.value.path == str(path)
        other.kill()
        other.wait(timeout=20)
        assert list(pool.map(echo, [0, 1], journal=path)) == [0, 1]


FORKS = """
import gc, os, sys
from workpool import Pool
def work(n):
    return n
pool = Pool(1)
results = pool.map(work, iter(range(200)), journal=sys.argv[1], buffersize=2)
some = [next(results) for _ in range(100)]
child = os.fork()
if not child:
    del results, pool
    gc.collect()
    sys.exit(0)  # through the end of an interpreter, which frees all there is
assert os.waitpid(child, 0)[1] == 0
some += results
pool.shutdown()
assert some == list(range(200))
"""


def test_a_forked_child_does_not_touch_the_file(tmp_path: Path) -> None:
    """A child that ends in order while the journal is open closes nothing of its parent's."""
    path = tmp_path / "run.sqlite"
    subprocess.run([sys.executable, "-c", FORKS, str(path)], check=True, timeout=50)
    assert sorted(kept_in(path)) == list(range(200))


FILLS = """
import resource, sys
from workpool import JournalError, Pool
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))  # no file grows beyond a megabyte
def big(n):
    return bytes(100_000)
count = 0
with Pool(1) as pool:
    try:
        for _ in pool.map(big, iter(range(100)), journal=sys.argv[1], buffersize=2):
            count += 1
    except JournalError as error:
        print(count, "cannot be written" in str(error))
"""


def test_a_file_that_cannot_grow_ends_the_call(tmp_path: Path) -> None:
    """Where the kernel refuses a write, what was yielded before is kept, and the error says so."""
    path = tmp_path / "run.sqlite"
    printed = subprocess.run(
        [sys.executable, "-c", FILLS, str(path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=50,
    ).stdout.split()
    assert printed[1] == "True"
    assert 0 < int(printed[0]) <= len(kept_in(path)) < 100


def test_a_journal_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    """A SQLite file of another program, and a journal in a format to come, are refused and unchanged."""
    theirs, later = tmp_path / "theirs", tmp_path / "later"
    connection = sqlite3.connect(theirs)
    connection.execute("CREATE TABLE items (name TEXT)")
    connection.close()
    Store(str(later), IDENTITY).close()
    connection = sqlite3.connect(later)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = theirs.read_bytes(), later.read_bytes()
    with pytest.raises(
        JournalError, match="a SQLite file of something else, and was left as it is"
    ):
        Store(str(theirs), IDENTITY)
    with pytest.raises(JournalError, match="in format 99, and this workpool reads format 2"):
        Store(str(later), IDENTITY)
    assert (theirs.read_bytes(), later.read_bytes()) == before


@pytest.mark.leaks_expected("the program is interrupted")
def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    """After Ctrl-C all that was finished is kept, also what nobody had fetched."""
    path = tmp_path / "run.sqlite"
    script = """
import sys
from tests.support.gates import say, stop
from workpool import Pool
def work(n):
    if n == 9:
        stop(sys.argv[2], n)
    return n
with Pool(1) as pool:  # who is at the last item has finished the others
    results = pool.map(work, range(10), journal=sys.argv[1], chunksize=1)
    pool.submit(print).result()
    next(results)
    for _ in range(8):
        next(results)
    next(results)
"""
    with (
        Gate() as gate,
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), gate.path], cwd=ROOT, stderr=subprocess.PIPE
        ) as program,
    ):
        gate.arrival()
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=30)
    assert sorted(kept_in(path)) == list(range(9))
