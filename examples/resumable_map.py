"""A journal: a program that is killed, and goes on where it stopped.

The program starts itself twice. The first run is killed in the middle of its work
(``kill -9``). The second makes the same call: what was finished comes from the journal.

Prints::

    the first run was killed: True
    the second run computed the rest only: True
    the sum of all: 328350
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from workpool import Pool

ITEMS = 100


def square(n: int) -> int:
    with open("computed", "a", encoding="utf-8") as log:
        log.write(f"{n}\n")
    return n * n


def work(stop_after: int) -> None:
    total = 0
    with Pool(2, backend="process") as pool:
        squares = pool.map(square, range(ITEMS), journal="squares.sqlite", chunksize=5)
        for count, result in enumerate(squares, start=1):
            total += result
            if count == stop_after:
                os.kill(os.getpid(), signal.SIGKILL)
    print("the sum of all:", total)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "computed")
        run = [sys.executable, os.path.abspath(__file__)]
        first = subprocess.run([*run, "50"], cwd=folder, check=False)
        print("the first run was killed:", first.returncode == -signal.SIGKILL)
        before = len(log.read_text("utf-8").split())
        second = subprocess.run([*run, "0"], cwd=folder, check=True, capture_output=True, text=True)
        computed = len(log.read_text("utf-8").split()) - before
        print("the second run computed the rest only:", computed <= ITEMS - 50)
        print(second.stdout, end="")


if __name__ == "__main__":
    if sys.argv[1:]:
        work(int(sys.argv[1]))
    else:
        main()
