"""A worker process that is just starting when its parent ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gates import DEADLINE

ROOT = Path(__file__).parents[2]

# What a keeper runs in a forked worker; the parent has closed all its ends.
WORKER = """
import os, signal
from workpool.ipc.journal import make_journal
from workpool.ipc.worker import main

def end():
    r, w = os.pipe()
    os.close(READER and r or w)
    return w if READER else r

READER = False
task_r, control_r = end(), end()
READER = True
result_w, stack_w = end(), end()
os._exit(main([task_r, result_w, control_r, make_journal(), stack_w], os.getppid()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such processes")
def test_it_ends_in_silence() -> None:
    """Whichever of its pipes it finds broken first."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        check=False,
        capture_output=True,
        cwd=ROOT,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGKILL, "", "")
