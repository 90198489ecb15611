"""From a shell: a function over the lines of a file, without a program around it.

``python -m workpool map ./command_line.py:parse`` calls the function below for each
line of the input. Results are lines of JSON, in order; a line that fails is told
on stderr, and the others go on. This program shows it by calling the shell.

Prints::

    $ python -m workpool map ./command_line.py:parse --input readings.txt
    {"sensor": "north", "celsius": 21.5}
    {"sensor": "east", "celsius": 19.0}
    item 2 ('south;warm'): ValueError: could not convert string to float: 'warm'
    exit status 1
    $ python -m workpool map os.path:basename --files /etc/hosts /etc/passwd
    "hosts"
    "passwd"
    exit status 0
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

READINGS = """\
north;21.5
south;warm
east;19.0
"""


def parse(line: str) -> dict[str, Any]:
    sensor, value = line.split(";")
    return {"sensor": sensor, "celsius": float(value)}


def shell(command: str, folder: str) -> None:
    print("$ python -m workpool map", command)
    run = [sys.executable, "-m", "workpool", "map", *command.split()]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr, end="")
    print("exit status", done.returncode)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "readings.txt").write_text(READINGS, "utf-8")
        os.symlink(os.path.abspath(__file__), os.path.join(folder, "command_line.py"))
        shell("./command_line.py:parse --input readings.txt", folder)
        shell("os.path:basename --files /etc/hosts /etc/passwd", folder)


if __name__ == "__main__":
    main()
