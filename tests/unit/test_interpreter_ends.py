"""What an interpreter leaves behind in the process that lives on: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.gates import DEADLINE, Gate
from workpool import Counter, Pool
from workpool._compat import has_interpreters
from workpool.ipc import depot

pytestmark = [
    pytest.mark.skipif(not depot.CAN_LEND, reason="this system has no memfd"),
    pytest.mark.skipif(not has_interpreters(), reason="this Python has no concurrent.interpreters"),
]

ROOT = Path(__file__).parents[2]

_kept: list[object] = []


def make(counter: Any) -> int:
    made = Counter(scope="process")
    _kept.append(made)
    return made.add()


def use(counter: Any) -> int:
    _kept.append(counter)
    value: int = counter.add()
    return value


def files() -> int:
    """Count the open files of shared state; those for large payloads come and go with workers."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += "memfd:workpool-" in os.readlink(f"/proc/self/fd/{fd}")
        except OSError:  # the one that lists them
            continue
    return count


def mappings() -> int:
    """Count the mappings of such files."""
    with open("/proc/self/maps", encoding="utf-8") as lines:
        return sum("memfd:workpool-" in line for line in lines)


@pytest.mark.parametrize("act", [make, use])
def test_shared_state_ends_with_its_interpreter(act: Callable[[Any], int]) -> None:
    """Workers that come and go leave no file of memory open or mapped, of what tasks made or were given."""
    found: list[tuple[int, int]] = []
    with Pool(1, backend="interpreter", max_tasks_per_worker=1) as pool:
        counter = pool.counter()
        for _ in range(4):
            assert pool.submit(act, counter).result(DEADLINE)
            pool.submit(int).result(DEADLINE)  # by the next worker: the first is gone
            found.append((files(), mappings()))
    assert found[1] == found[-1]


WITHOUT_STREAMS = """
import sys
import threading
from workpool import Pool

NAMES = "stdin __stdin__ stdout __stdout__ stderr __stderr__".split()

def streams(n):
    print(n, flush=True)
    return [getattr(sys, name) is None for name in NAMES]

if __name__ == "__main__":
    file = open(sys.argv[1], "w")  # takes the number of a stream that is not there
    with Pool(1, backend="interpreter") as pool:
        said = [streams(0), pool.submit(streams, 1).result()]
    file.write(repr(said))
"""


@pytest.mark.parametrize("closed", ["<", ">", "2>"])
def test_a_stream_that_the_program_has_not_is_none_in_its_tasks(
    tmp_path: Path, closed: str
) -> None:
    """What they print goes into no file that happens to have the number of a standard stream."""
    program, file = tmp_path / "program.py", tmp_path / "file"
    program.write_text(WITHOUT_STREAMS, encoding="utf-8")
    begin = f'exec "$0" "$@" {closed}&-'
    subprocess.run(
        ["sh", "-c", begin, sys.executable, program, file],
        check=True,
        timeout=DEADLINE,
        stdout=subprocess.DEVNULL,
        # What measures coverage opens files of its own.
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
    )
    gone = [name in {"<": (0, 1), ">": (2, 3), "2>": (4, 5)}[closed] for name in range(6)]
    assert file.read_text(encoding="utf-8") == repr([gone, gone])


def test_no_thread_is_left_when_the_block_has_ended() -> None:
    """The threads that interpreters live in are over: a program may count its threads, or fork."""
    left: list[str] = []
    for _ in range(15):  # without the wait for them, some are there yet in every other round
        with Pool(2, backend="interpreter", name="ended") as pool:
            list(pool.map(abs, range(4), chunksize=1))
        left += [each.name for each in threading.enumerate() if each.name.startswith("ended-")]
    assert left == []


LEAVING = """
import atexit, sys, time
from tests.support.gates import say
from workpool import Pool

def nap(gate):
    say(gate, "napping")
    time.sleep(600)  # house: sleep - in C, where nothing that is sent into it is heard

if __name__ == "__main__":
    atexit.register(say, sys.argv[1], "leaving")
    with Pool(1, backend="interpreter") as pool:
        pool.submit(nap, sys.argv[1]).result()
"""


def test_a_second_ctrl_c_does_not_have_the_program_wait_for_what_was_given_up(
    tmp_path: Path,
) -> None:
    """While it leaves, and waits a moment for a task that cannot be ended: it ends at once."""
    program = tmp_path / "program.py"
    program.write_text(LEAVING, encoding="utf-8")
    with Gate() as gate:
        running = subprocess.Popen(
            [sys.executable, program, gate.path],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert gate.arrival() == "napping"
        running.send_signal(signal.SIGINT)
        assert gate.arrival() == "leaving"
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=DEADLINE)
    assert running.returncode == 1
    assert errors.rstrip().endswith('Use backend="process" for such tasks.')
