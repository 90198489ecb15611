"""How many threads the numeric libraries of a worker may start, so that workers do not fight for the cores.

BLAS and OpenMP start as many threads as there are cores, in each process that loads them. With as
many workers as cores that is cores times cores. So a worker gets its share, by the
variables that these libraries look at when they are loaded. Whoever has set one of them is
left alone: then it says already what is wanted.

A worker that was forked from a program which has them loaded gets its share by the libraries' own
calls, since they have looked at the variables before.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["limit_loaded", "loaded_threads", "shares"]

OPENMP: Final = "OMP_NUM_THREADS"
#: Libraries look at the first that is set: their own, then OpenMP's.
_AFTER_OPENMP: Final = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_OF_THEIR_OWN: Final = ("VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")

# What a library's file is called, its variable, and how it is asked and told.
_CALLS: Final = (
    (
        "openblas",
        "OPENBLAS_NUM_THREADS",
        [
            (
                f"{prefix}openblas_get_num_threads{suffix}",
                f"{prefix}openblas_set_num_threads{suffix}",
            )
            for prefix in ("", "scipy_")
            for suffix in ("", "64_", "_64")
        ],
    ),
    ("mkl_rt", "MKL_NUM_THREADS", [("MKL_Get_Max_Threads", "MKL_Set_Num_Threads")]),
    ("blis", "BLIS_NUM_THREADS", [("bli_thread_get_num_threads", "bli_thread_set_num_threads")]),
    *(
        (name, OPENMP, [("omp_get_max_threads", "omp_set_num_threads")])
        for name in ("libgomp", "libomp", "libiomp")
    ),
)
_MAPS: Final = Path("/proc/self/maps")


def shares(environ: Mapping[str, str], threads: int) -> dict[str, str]:
    """Give the variables to be set for so many threads: those that nobody has set, in place of which nothing counts."""
    wanted = _OF_THEIR_OWN if environ.get(OPENMP) else (OPENMP, *_AFTER_OPENMP, *_OF_THEIR_OWN)
    return {name: str(threads) for name in wanted if not environ.get(name)}


def limit_loaded(threads: int, variables: Mapping[str, str]) -> None:
    """Tell the libraries that are loaded already, as far as these variables are to be set."""
    for variable, library, _, tell in _loaded():
        if variable in variables:
            getattr(library, tell)(threads)


def loaded_threads() -> list[int]:
    """Say how many threads each of the libraries may use that are loaded in this process."""
    return [int(getattr(library, ask)()) for _, library, ask, _ in _loaded()]


def _loaded() -> list[tuple[str, ctypes.CDLL, str, str]]:
    """Find them among the files that this process has mapped: variable, library, and its two calls."""
    paths: set[str] = set()
    with suppress(OSError):  # a system that does not tell
        for line in _MAPS.read_text(errors="replace").splitlines():
            path = line.partition("/")[2]
            if ".so" in path:
                paths.add("/" + path)
    found: list[tuple[str, ctypes.CDLL, str, str]] = []
    for path in sorted(paths):
        for name, variable, calls in _CALLS:
            if name not in path.rpartition("/")[2]:
                continue
            with suppress(OSError):
                library = ctypes.CDLL(path)
                found += [
                    (variable, library, *pair) for pair in calls if hasattr(library, pair[1])
                ][:1]
    return found
