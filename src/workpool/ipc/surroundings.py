"""What a worker is told of the process that it is to be like, as that is when the worker starts.

It is a child of the keeper, and inherits what that inherited at its own start.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from types import FunctionType, SimpleNamespace
from typing import Any

from workpool.ipc.mainmodule import know_what_comes_back, left_to_us
from workpool.plain import paths, plain, words

__all__ = ["settle_in", "surroundings"]

_AS_THEY_TRAVEL: dict[str, Any] = {"authkey": bytes, "sys_path": paths, "sys_argv": words}


def surroundings(name: str, method: str, blas_threads: int | None) -> dict[str, Any]:
    """Tell a worker how to become a process like this one."""
    know_what_comes_back()
    environ = dict(os.environ)
    share: dict[str, str] = {}
    if blas_threads is not None:
        from workpool.ipc import (
            blas,  # loads much that a worker, which settles in here, has no use for
        )

        share = blas.shares(environ, blas_threads)
    return {
        "environ": {**environ, **share},
        "umask": _umask(),
        "cpus": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        # What is loaded here is loaded in a fork, and has looked at the environment already.
        "blas": (blas_threads, share) if method == "fork" else (None, {}),
        "main": left_to_us() if method != "fork" else None,
        "preparation": {
            key: _AS_THEY_TRAVEL.get(key, plain)(value)
            for key, value in _preparation(name).items()
            # No file is behind "<stdin>": what is in there travels by value.
            if key != "start_method" and (key != "init_main_from_path" or os.path.exists(value))
        },
    }


def settle_in(plain: dict[str, Any]) -> None:
    """Take over, in a worker, what comes with the environment of a process: also its time zone, umask and CPUs."""
    os.environ.clear()
    os.environ.update(plain["environ"])
    if hasattr(time, "tzset"):
        time.tzset()  # the one of the environment
    if plain["umask"] is not None:
        os.umask(plain["umask"])
    if plain["cpus"] is not None:
        with suppress(OSError):  # some of them have gone since
            os.sched_setaffinity(0, plain["cpus"])


def _umask() -> int | None:
    """Read this process's umask; None where that takes setting another one, which would be other threads' too."""
    with suppress(OSError, ValueError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return None


def _preparation(name: str) -> dict[str, Any]:
    """Give what a child of ``multiprocessing`` is told of its parent."""
    from multiprocessing import spawn

    main: Any = sys.modules["__main__"]
    if hasattr(main, "__spec__"):
        instead: dict[str, Any] = {}
    else:  # under the pdb of Python 3.11 and 3.12
        main = SimpleNamespace(__spec__=None, __file__=getattr(main, "__file__", None))
        instead = {"sys": SimpleNamespace(**{**vars(sys), "modules": {"__main__": main}})}
    try:
        return _told_by(spawn, name, **instead)
    except FileNotFoundError:
        # The current folder is gone, and a worker has none to go to. All else is as ever.
        nowhere = SimpleNamespace(getcwd=lambda: "", path=os.path)
        data = _told_by(spawn, name, os=nowhere, **instead)
        del data["dir"]
        return data


def _told_by(spawn: Any, name: str, **instead: Any) -> dict[str, Any]:
    """Call ``spawn.get_preparation_data`` with these modules in place of those that it has imported."""
    call = spawn.get_preparation_data
    if instead:
        call = FunctionType(call.__code__, {**vars(spawn), **instead})
    data: dict[str, Any] = call(name)
    return data
