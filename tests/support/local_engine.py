"""An engine's process that has no engine: it runs until it is told to end, as those that have one do.

Its address says what it was asked for: whether a module can be imported; or it stops at a
gate before it has one, and reads nothing.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from tests.support.gates import stop
from workpool.backends.engine.local import folder_for, tell_address, wait_for_the_end


def main(task: str, argument: str, descriptor: int) -> None:
    with folder_for("none") as folder:
        if task == "stop":
            stop(argument, f"{os.getpid()} {folder}", 60.0)
        tell_address(descriptor, f"{find_spec(argument) is not None} {folder}")
        wait_for_the_end()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
