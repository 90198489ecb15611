"""Programs of their own: for what happens at the end of an interpreter, in forks, and to deadlocks.

A script runs with the name of the backend as its only argument. Whatever it
prints is compared; on its standard error nothing is allowed to appear, and a
program that hangs is ended with its time limit.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.support.backends import Kind
from tests.support.gates import DEADLINE

__all__ = ["outcome_of", "printed_by", "printed_with_other_hashes"]

ROOT = Path(__file__).parents[2]

# Seconds: 30, and three times that with an engine, of which a program may start one for each of its pools.
LONGEST = 1.5 * DEADLINE

PRELUDE = """\
import sys
from workpool import Pool
from tests.support import backends, onlookers, tasks
BACKEND = sys.argv[1]
onlookers.unlock_coverage()
"""


def outcome_of(
    kind: Kind, script: str, *, timeout: float = LONGEST, flags: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end and tell what it printed and how it ended."""
    program = PRELUDE + textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-W", "error", *flags, "-c", program, kind.name],
        check=False,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=timeout,
    )


def printed_by(
    kind: Kind, script: str, *, timeout: float = LONGEST, flags: tuple[str, ...] = ()
) -> list[str]:
    """Run a script that must end well and in silence, and give the lines it printed."""
    done = outcome_of(kind, script, timeout=timeout, flags=flags)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def printed_with_other_hashes(script: str) -> set[str]:
    """Give what a script prints whose strings have other hashes each time, and its sets another order."""
    return {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
