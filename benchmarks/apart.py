"""Runs a program apart from all others: in a process and a session of its own, of which nothing outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from benchmarks.accounting import end_session

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Outcome:
    """How a program has ended, and what it wrote."""

    code: int | None  # its exit code; None if it had to be ended
    out: str
    errors: str


def run_apart(*arguments: str, seconds: float) -> Outcome:
    """Run Python with these arguments; end it when it is not through in so many seconds."""
    # Files, not pipes: the end of a pipe comes with the last worker that holds it.
    with TemporaryFile("w+") as out, TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            start_new_session=True,
            env=environment(),
        )
        code: int | None = None
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            # Workers and helpers that outlive their parent would disturb what is run next.
            end_session(process.pid)
        out.seek(0)
        errors.seek(0)
        return Outcome(code, out.read(), errors.read())


def environment() -> dict[str, str]:
    """Give the environment of a measurement: this one, less what would make imports slower."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONWARNINGS": "ignore"}
