"""Workers that die at their start, before they come to anybody's code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """\
import os
import sys
from pathlib import Path

STARTS = Path("starts")

if __name__ != "__main__":
    # A worker imports the program: this is where it dies, so many times.
    with STARTS.open("a") as log:
        log.write("start\\n")
    if len(STARTS.read_text().splitlines()) <= int(Path("deaths").read_text()):
        os._exit(7)

from workpool import Pool, PoolClosed, WorkerStartFailed


def double(n):
    return 2 * n


if __name__ == "__main__":
    pool = Pool(1, backend="process", start_method=sys.argv[1])
    tasks = [pool.submit(double, n) for n in range(3)]
    items = pool.map(double, range(3))
    for task in tasks:
        error = task.exception(30)
        print(task.result() if error is None else type(error).__name__)
    try:
        print(list(items))
    except Exception as error:
        print(type(error).__name__)
    try:
        print(pool.submit(double, 5).result(30))
    except Exception as error:
        print(type(error).__name__)
    if isinstance(tasks[0].exception(), WorkerStartFailed):
        print(tasks[0].exception())
    pool.shutdown()
"""


def run(folder: Path, method: str, deaths: int) -> tuple[list[str], int]:
    """Run the program, whose workers die at so many starts; give what it printed, and how many there were."""
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    (folder / "deaths").write_text(str(deaths), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py", method],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines(), len((folder / "starts").read_text().splitlines())


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_dying_at_every_start_ends_the_pool(tmp_path: Path, method: str) -> None:
    """After five to eight starts in a row all that waits fails with the reason, and nothing is started for ever."""
    printed, starts = run(tmp_path, method, deaths=10**6)
    assert printed[:5] == ["WorkerStartFailed"] * 5
    assert f"{starts} workers of Pool-0 in a row died before they began any task" in printed[5]
    assert "of exit code 7" in printed[5]
    # Five at least, and for a second; the pauses between them grow so that eight are enough for that.
    assert 5 <= starts <= 8


def test_dying_at_some_starts_is_made_good(tmp_path: Path) -> None:
    """Workers that come to life in the end do what waits; no task is charged for the deaths before."""
    printed, starts = run(tmp_path, "forkserver", deaths=3)
    assert printed == ["0", "2", "4", "[0, 2, 4]", "10"]
    assert starts == 4


GONE = """\
import os
import shutil
import sys

if __name__ == "__main__":
    shutil.rmtree(os.getcwd())
    if sys.argv[2] == "path":
        sys.path.insert(0, "")

from workpool import Pool


def double(n):
    return 2 * n


if __name__ == "__main__":
    with Pool(1, backend="process", start_method=sys.argv[1]) as pool:
        print(list(pool.map(double, range(3))), pool.submit(lambda n: n + 1, 4).result(30))
"""


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
@pytest.mark.parametrize("path", ["path", "no path"])
def test_a_folder_that_is_gone_is_no_obstacle(tmp_path: Path, method: str, path: str) -> None:
    """A program whose current folder is deleted before its first worker starts works, wherever it imports from."""
    folder = tmp_path / "gone"
    folder.mkdir()
    (folder / "program.py").write_text(GONE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "program.py", method, path],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[0, 2, 4] 5\n")
    # Python 3.13.0 cannot start its own resource tracker there.
    assert "workpool" not in done.stderr
