"""What a worker is told of the process that it is to be like."""

from __future__ import annotations

import os
from types import FunctionType, SimpleNamespace
from typing import Any

from workpool.ipc import blas
from workpool.plain import paths, plain, words

__all__ = ["surroundings"]

_AS_THEY_TRAVEL: dict[str, Any] = {"authkey": bytes, "sys_path": paths, "sys_argv": words}


def surroundings(name: str, method: str, blas_threads: int | None) -> dict[str, Any]:
    """Tell a worker how to become a process like this one."""
    environ = dict(os.environ)
    share = {} if blas_threads is None else blas.shares(environ, blas_threads)
    return {
        "environ": {**environ, **share},
        # What is loaded here is loaded in a fork, and has looked at the environment already.
        "blas": (blas_threads, share) if method == "fork" else (None, {}),
        "preparation": {
            key: _AS_THEY_TRAVEL.get(key, plain)(value)
            for key, value in _preparation(name).items()
            # No file is behind "<stdin>": what is in there travels by value.
            if key != "start_method" and (key != "init_main_from_path" or os.path.exists(value))
        },
    }


def _preparation(name: str) -> dict[str, Any]:
    """Give what a child of ``multiprocessing`` is told of its parent."""
    from multiprocessing import spawn

    try:
        return spawn.get_preparation_data(name)
    except FileNotFoundError:
        # The current folder is gone, and a worker has none to go to. All else is as ever.
        nowhere = SimpleNamespace(getcwd=lambda: "", path=os.path)
        make = FunctionType(spawn.get_preparation_data.__code__, {**vars(spawn), "os": nowhere})
        data: dict[str, Any] = make(name)
        del data["dir"]
        return data
