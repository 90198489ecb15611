"""What is under the ``__main__`` guard is no worker's to import: it is sent again by value, as it was submitted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.gates import DEADLINE

SCRIPT = """
import operator
from workpool import NotPicklable, Pool

class Refuses:
    def __reduce__(self):
        return refuse, ()

def refuse():
    raise LookupError("nowhere")

if __name__ == "__main__":
    def listed(given):
        return list(given)

    class Box:
        def __init__(self, value, size=0):
            self.value, self.room = value, bytearray(size)
        def look(self):
            return self.value, len(self.room)

    def opened(box):
        return box.look()

    look = operator.methodcaller("look")
    with Pool(1, backend="process") as pool:
        # None of these is with a worker before all are changed: the first one is only just started.
        given, boxes = [1], [Box(1), Box(1, 1_000_000), Box(1), Box(1, 1_000_000), Box(1)]
        tasks = [pool.submit(listed, given), pool.submit(look, boxes[0]), pool.submit(look, boxes[1])]
        tasks += [pool.submit(boxes[2].look), pool.submit(opened, boxes[3])]
        refused = pool.submit(opened, (boxes[4], Refuses()))
        given.append(2)
        for box in boxes:
            box.value = 2
            box.room.clear()
        for task in tasks:
            print(task.result(30))
        error = refused.exception(30)
        print(type(error).__name__, error.part)
"""


def test_a_call_that_is_sent_again_is_the_one_that_was_submitted(tmp_path: Path) -> None:
    """Arguments and objects of bound methods are as they were then, small or large, whatever became of them since."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
        check=False,
    )
    assert (done.stdout.splitlines(), done.stderr) == (
        ["[1]", "(1, 0)", "(1, 1000000)", "(1, 0)", "(1, 1000000)", "NotPicklable argument"],
        "",
    )


SETS_UP = """
from workpool import InitializerFailed, Pool

if __name__ == "__main__":
    def below():
        pass

    with Pool(1, backend="process", initializer=below) as pool:
        try:
            pool.submit(abs, -1).result(30)
        except InitializerFailed as error:
            print(error)
"""


def test_an_initializer_below_the_guard_is_told_where_to_stand(tmp_path: Path) -> None:
    """Setups are not sent again: the error says that workers do not have it, and where they would."""
    script = tmp_path / "script.py"
    script.write_text(SETS_UP)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE,
        check=False,
    )
    assert "'below'" in done.stdout
    assert done.stdout.endswith(". Define it in __main__ above the guard, or in a module\n")
