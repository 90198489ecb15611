"""Calls for joblib's loops: a module that is quickly imported by each worker."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import Any

from tests.support.gates import DEADLINE, say, stop

joblib: Any = import_module("joblib")  # which has no types


def meet(gate: str) -> None:
    """Stop at a gate."""
    stop(gate)


def square(n: int) -> int:
    return n * n


def who(_: int) -> int:
    return os.getpid()


def openmp_threads(_: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def fail_at(n: int, at: int) -> int:
    if n == at:
        raise LookupError(n)
    return n


def fail_or_hold(n: int, gate: str) -> None:
    """Fail with the first, once the second holds a worker."""
    if n == 1:
        say(gate, os.getpid())
        threading.Event().wait(DEADLINE)
    if n == 0:
        stop(gate)
        raise LookupError(n)


def inner_loop(n: int) -> tuple[int, list[int], int]:
    """Run a loop in a loop, and tell who ran it."""
    results = joblib.Parallel(n_jobs=2)(joblib.delayed(square)(m) for m in range(n))
    pids = set(joblib.Parallel(n_jobs=2)(joblib.delayed(who)(m) for m in range(4)))
    return os.getpid(), list(results), pids.pop() if len(pids) == 1 else -1


def total(array: Any) -> float:
    return float(array.sum())
